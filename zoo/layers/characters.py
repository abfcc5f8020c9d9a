"""A character-level layer applied to every word of a batch."""

import keras
from keras import ops

from zoo.layers.device import in_graph_on_cpus


@keras.saving.register_keras_serializable(package="zoo")
class CharacterEncoder(keras.layers.Layer):
    """Applies a layer to the characters of each word: (N, T, C), padded with 0 on the right → (N, T, features).

    `layer` maps (words, C) to (words, features). Keras's `TimeDistributed` needs to know T and runs one step after
    another; here all words form one batch. In a TensorFlow graph on CPUs with an unknown number of words, the words are
    sorted by length and processed in blocks, each as wide as its longest word, which avoids most of the padding. XLA
    needs shapes that do not depend on the data: set `bucket_by_length` to False where XLA compiles the model.
    """

    BLOCK = 128  # words

    def __init__(self, layer: keras.layers.Layer, features: int, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.features, self.bucket_by_length = layer, features, True

    def build(self, input_shape):
        self.layer.build((None, *input_shape[2:]))

    def call(self, characters, training=False):
        sentences, words, width = ops.shape(characters)  # integers where they are known, else tensors
        count, characters = sentences * words, ops.reshape(characters, (-1, width))
        if self.bucket_by_length and not isinstance(count, int) and in_graph_on_cpus():
            encoded = self._call_in_blocks(characters, training)
        else:
            encoded = self.layer(characters, training=training)
        return ops.reshape(encoded, (sentences, words, self.features))

    def _call_in_blocks(self, characters, training):
        import tensorflow as tf

        length = tf.reduce_sum(tf.cast(characters != 0, "int32"), axis=1)
        order = tf.argsort(length, direction="DESCENDING", stable=True)
        characters, longest = tf.gather(characters, order), tf.gather(length, order[:: self.BLOCK])
        if training:  # whole blocks with a known number of rows, because our LSTM compiles for it
            characters = tf.pad(characters, [[0, -tf.shape(characters)[0] % self.BLOCK], [0, 0]])

        def run(i, encoded):
            block = characters[i * self.BLOCK : (i + 1) * self.BLOCK, : tf.maximum(longest[i], 1)]
            block = tf.ensure_shape(block, (self.BLOCK if training else None, None))
            return i + 1, encoded.write(i, self.layer(block, training=training))

        encoded = tf.TensorArray(self.compute_dtype, tf.size(longest), element_shape=(None, self.features))
        _, encoded = tf.while_loop(lambda i, _: i < tf.size(longest), run, (0, encoded))
        return tf.gather(encoded.concat(), tf.math.invert_permutation(order))

    def compute_output_spec(self, characters, training=False):
        return keras.KerasTensor((*characters.shape[:2], self.features), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "layer": keras.layers.serialize(self.layer), "features": self.features}

    @classmethod
    def from_config(cls, config):
        return cls(keras.layers.deserialize(config.pop("layer")), **config)
