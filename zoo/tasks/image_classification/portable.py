"""The part of an image classifier's export that ONNX and LiteRT have operations for."""

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from zoo.exports.portable import Portable
from zoo.tasks.image_classification.preprocessing import Preprocessing
from zoo.tasks.image_classification.scoring import logits_of
from zoo.tasks.image_classification.serving import PROBABILITIES


def portable_classifier(
    model: keras.Model,
    preprocessing: Preprocessing,
    signature: Callable[..., Mapping[str, tf.Tensor]],
    labels: Sequence[str],
    origin: Mapping[str, str] | None = None,
) -> Portable:
    """A classifier with its preprocessing but for resizing, which ONNX and LiteRT do in other ways than TensorFlow.

    It takes `images` uint8 (N, height, width, C), of the size that is not resized, and returns `classes` int64 (N,) and
    `probabilities` float32 (N, K), for a perceptron `scores`. `signature` is the default signature of the export.
    """
    height, width = preprocessing.served_size
    shape, loss = (height, width, preprocessing.shape[2]), preprocessing.recipe.loss
    link = PROBABILITIES.get(loss, tf.identity)
    answers = ("classes", "probabilities" if loss in PROBABILITIES else "scores")

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.uint8, "images")], autograph=False)
    def classify(images):
        outputs = tf.cast(logits_of(model, preprocessing.centre(images), preprocessing.recipe.test_views), tf.float32)
        return dict(zip(answers, (tf.argmax(outputs, axis=-1), link(outputs)), strict=True))

    images = np.random.default_rng(0).integers(0, 256, (4, *shape), np.uint8)
    answer = signature(images=tf.constant(images))
    expected = {name: answer[name].numpy() for name in answers}
    return Portable(classify, {"images": images}, expected, labels, origin or {})
