"""Losses and metrics that several tasks share, in float32, or float64 where the model computes in that."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops


def cross_entropy(labels, logits):
    """-log softmax(logits)[label], per example or token: labels (…), logits (…, K)."""
    return keras.losses.sparse_categorical_crossentropy(labels, _whole_precision(logits), from_logits=True)


def smoothed_cross_entropy(labels, logits, smoothing: float):
    """Cross-entropy with the target 1 - `smoothing` for the label and the rest spread evenly over all classes (Szegedy
    et al. 2016, section 7), per example or token."""
    if not smoothing:
        return cross_entropy(labels, logits)
    logits = _whole_precision(logits)
    uniform = ops.logsumexp(logits, axis=-1) - ops.mean(logits, axis=-1)
    return (1 - smoothing) * cross_entropy(labels, logits) + smoothing * uniform


def _whole_precision(logits):
    return logits if keras.backend.standardize_dtype(logits.dtype) == "float64" else ops.cast(logits, "float32")


def masked_sum(losses: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """The sum of losses (N, …), of which those with a mask of 0 are left out; `mask` is (N,), (N, …) or None."""
    if mask is None:
        return tf.reduce_sum(losses)
    mask = tf.cast(mask, losses.dtype)
    return tf.reduce_sum(losses * tf.reshape(mask, _with_axes(mask, losses)))


def _with_axes(mask: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The mask's shape with as many axes of size 1 behind it as `other` has more."""
    return tf.concat([tf.shape(mask), tf.ones([len(other.shape) - len(mask.shape)], tf.int32)], axis=0)


def update_token_metrics(
    metrics: Sequence[keras.metrics.Metric], labels: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor | None
) -> None:
    """Updates metrics of classes for each token: labels (N, T), logits (N, T, K), mask (N,), (N, T) or None.

    Keras would average over the tokens of each row first, so that a token of a long row would count less.
    """
    if mask is not None:
        mask = tf.reshape(tf.broadcast_to(tf.reshape(mask, _with_axes(mask, labels)), tf.shape(labels)), [-1])
    update_class_metrics(metrics, tf.reshape(labels, [-1]), tf.reshape(logits, [-1, logits.shape[-1]]), mask)


def update_class_metrics(
    metrics: Sequence[keras.metrics.Metric], labels: tf.Tensor, logits: tf.Tensor, mask: tf.Tensor | None
) -> None:
    """Updates metrics of classes: labels (N,), logits (N, K), mask (N,) or None."""
    if logits.dtype.size < 4:  # Keras would average in half precision
        logits = tf.cast(logits, tf.float32)
    for metric in metrics:
        metric.update_state(labels, logits, sample_weight=mask)
