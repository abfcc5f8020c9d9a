"""The signatures of an image classifier's export."""

from collections.abc import Callable

import keras
import tensorflow as tf

from zoo.data.decoding import decode_image
from zoo.tasks.image_classification.preprocessing import Preprocessing
from zoo.tasks.image_classification.scoring import logits_of
from zoo.weights.exports import classifier

# From logits to probabilities, by loss; a perceptron has scores alone.
PROBABILITIES = {"cross_entropy": tf.nn.softmax, "rbf_map": tf.nn.softmax, "sigmoid_cross_entropy": tf.sigmoid}


class ServingClassifier(tf.Module):
    """A classifier with its preprocessing, to be saved with these signatures:

    * `serving_default`: `images` uint8 (N, any, any, C) → `classes` int64 (N,), `labels` string (N,) and
      `probabilities` float32 (N, K), for a perceptron its `scores`, over the mirror views of the recipe's `test_views`;
    * `image_bytes`: `image_bytes` string (N,), each a PNG, JPEG, GIF or BMP file → the same;
    * `features`: `images` → `features` float32 (N, D), the input of the classifier layer; a map is averaged;
    * `preprocess`: `images` → `inputs` (N, height, width, C), the input of the model, for fine-tuning.
    """

    def __init__(self, model: keras.Model, preprocessing: Preprocessing, classes: tuple[str, ...]):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # saved with the export, in the model's order
        self.preprocessing = preprocessing
        recipe, shape = preprocessing.recipe, preprocessing.shape
        features = keras.Model(model.inputs, classifier(model).input)
        images_spec = tf.TensorSpec((None, None, None, shape[2]), tf.uint8, "images")
        bytes_spec = tf.TensorSpec((None,), tf.string, "image_bytes")

        def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = _of_rows(lambda rows: tf.cast(logits_of(model, rows, recipe.test_views), tf.float32), inputs)
            classes_ = tf.argmax(outputs, axis=-1)
            answers = {"classes": classes_, "labels": tf.gather(tf.constant(classes), classes_)}
            if recipe.loss not in PROBABILITIES:
                return {**answers, "scores": outputs}
            return {**answers, "probabilities": PROBABILITIES[recipe.loss](outputs)}

        def input_of(content: tf.Tensor) -> tf.Tensor:
            return preprocessing.served(decode_image(content, shape[2])[None])[0]

        @tf.function(input_signature=[images_spec])
        def serving_default(images):
            return answer(preprocessing.served(images))

        @tf.function(input_signature=[bytes_spec])
        def image_bytes(image_bytes):
            inputs = tf.TensorSpec(preprocessing.input_shape, preprocessing.normalisation.dtype)
            return answer(tf.map_fn(input_of, image_bytes, fn_output_signature=inputs))

        @tf.function(input_signature=[images_spec])
        def features_of(images):
            vectors = _of_rows(lambda rows: features(rows, training=False), preprocessing.served(images))
            if len(vectors.shape) == 4:  # the classifier is a convolution
                vectors = tf.reduce_mean(vectors, axis=(1, 2))
            return {"features": tf.cast(vectors, tf.float32)}

        @tf.function(input_signature=[images_spec])
        def preprocess(images):
            return {"inputs": preprocessing.served(images)}

        self.endpoints = {
            "serving_default": serving_default,
            "image_bytes": image_bytes,
            "features": features_of,
            "preprocess": preprocess,
        }


def _of_rows(compute: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    """`compute(inputs)`. A batch without rows gets one, which is cut off again: TensorFlow's convolutions of an empty
    batch by oneDNN have the shape of their input."""
    count = tf.shape(inputs)[0]
    extra = tf.zeros((tf.cast(count == 0, tf.int32), *inputs.shape[1:]), inputs.dtype)
    return compute(tf.concat([inputs, extra], axis=0))[:count]
