"""The losses that several tasks share, in float32 whatever the net computes in."""

import keras
from keras import ops


def cross_entropy(labels, logits):
    """−log softmax(logits)[label], per example or token: labels (…), logits (…, K)."""
    return keras.losses.sparse_categorical_crossentropy(labels, ops.cast(logits, "float32"), from_logits=True)


def smoothed_cross_entropy(labels, logits, smoothing: float):
    """Cross-entropy to the label with 1 − `smoothing`, the rest spread evenly over all classes (Szegedy et al. 2016,
    section 7), per example or token."""
    if not smoothing:
        return cross_entropy(labels, logits)
    logits = ops.cast(logits, "float32")
    uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
    return (1 - smoothing) * cross_entropy(labels, logits) + smoothing * uniform
