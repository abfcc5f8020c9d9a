"""The logits and the scores of a classifier, the same for a model in training and for an export."""

import keras
import numpy as np
import tensorflow as tf

from zoo.data import views


def logits_of(model: keras.Model, inputs: tf.Tensor, test_views: str) -> tf.Tensor:
    """The logits (N, K) of normalised images, in float32 or float64; their mean over mirror views where `test_views`
    has them."""

    def logits(view: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(view, training=False), inputs.dtype)

    if test_views not in ("mirror", "mirror_shift"):
        return logits(inputs)
    weighted = views.mirror_views(inputs, shifted=test_views == "mirror_shift")
    shared = tf.function(logits, autograph=False)  # of all views; an export holds it once
    return tf.add_n([weight * shared(view) for weight, view in weighted])


def scores(labels: np.ndarray, outputs: np.ndarray, prefix: str) -> dict[str, float]:
    """Accuracy, and for 100 classes or more top-5 accuracy: labels (N,), outputs (N, K) that are larger for likelier
    classes; names begin with `prefix`."""
    results = {f"{prefix}_accuracy": float(np.mean(outputs.argmax(-1) == labels))}
    if outputs.shape[1] >= 100:
        five = np.argpartition(outputs, -5)[:, -5:]
        results[f"{prefix}_top5_accuracy"] = float(np.mean((five == labels[:, None]).any(-1)))
    return results
