"""The functions of an export that other programs train its weights with."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from zoo.layers import CharacterEncoder


def add_training_endpoint(serving: tf.Module, model: keras.Model) -> tf.Module:
    """Adds to the module of an export, which is returned,

    * `train(inputs, training=True)` → the outputs of `model`, for a classifier its logits (N, K), as they are in
      training: with dropout, and batch normalisation that updates its statistics;
    * `infer(inputs)` → the same as they are in inference.

    `inputs` are what the model takes: for images what the signature `preprocess` returns, for others a dict of token
    ids and states. The variables are `weights`; those that training changes are trainable.
    """
    own = {weight.path for weight in model.weights}
    # The states of random generators, which the functions use and advance.
    serving.random_state = [variable.value for variable in model.variables if variable.path not in own]
    spec = tf.nest.map_structure(lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype, x.name), model.input)

    @tf.function(autograph=False)
    def train(inputs, training=True):
        with _without_blocks(model):
            return model(inputs, training=training)

    @tf.function(autograph=False, input_signature=[spec])
    def infer(inputs):
        return model(inputs, training=False)

    for training in (True, False):
        train.get_concrete_function(spec, training)
    serving.train, serving.infer = train, infer
    return serving


@contextlib.contextmanager
def _without_blocks(model: keras.Model) -> Iterator[None]:
    """Characters are encoded in one block while a function is traced: the gradient of a loaded function cannot reach
    what a loop over blocks keeps."""
    encoders = [layer for layer in model.layers if isinstance(layer, CharacterEncoder) and layer.bucket_by_length]
    for layer in encoders:
        layer.bucket_by_length = False
    try:
        yield
    finally:
        for layer in encoders:
            layer.bucket_by_length = True
