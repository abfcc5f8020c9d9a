"""Sequence to sequence learning with deep LSTMs: Sutskever, Vinyals & Le, NIPS 2014."""

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.models.parts import check_sizes


def uniform() -> keras.initializers.Initializer:
    """Section 3.4: every weight starts uniform between −0.08 and 0.08."""
    return keras.initializers.RandomUniform(-0.08, 0.08)


def lstm(units: int, **options) -> keras_layers.LSTM:
    """One layer; what it returns is its outputs and its last two states."""
    return keras_layers.LSTM(
        units,
        kernel_initializer=uniform(),
        recurrent_initializer=uniform(),
        bias_initializer=uniform(),
        unit_forget_bias=False,
        return_sequences=True,
        return_state=True,
        **options,
    )


@keras.saving.register_keras_serializable(package="zoo")
class StackedDecoder(keras.layers.Layer):
    """LSTM layers on top of each other, from states that were made elsewhere.

    Called with the words before each (N, T, E), the encoder's outputs (N, S, D), which of them are real, bool (N, S),
    and the first state (N, 2 · layers · units), the layers' hidden and cell states side by side. Returns what the
    output layer needs (N, T, units), where the state came from (N, T, S), and the last state. `step` does the same for
    one word.
    """

    attends = False

    def __init__(self, units: int, layers: int, **kwargs):
        super().__init__(**kwargs)
        self.units, self.layers = units, layers
        self.stack = [lstm(units, name=f"lstm{i}") for i in range(1, layers + 1)]

    def build(self, words_shape, annotations_shape, real_shape, state_shape):
        for i, layer in enumerate(self.stack):
            layer.build((None, None, self.units if i else words_shape[-1]))

    def keys(self, annotations, real):
        """Nothing is looked at."""
        return annotations

    def source(self, real):
        """The word that the encoder, which reads backwards, read last: the first, (N, S)."""
        return ops.cast(ops.broadcast_to(ops.arange(ops.shape(real)[1]) == 0, ops.shape(real)), self.compute_dtype)

    def step(self, word, state, keys, annotations, real):
        """One word (N, E) and the state before it → the top layer's output (N, units), its source, the next state."""
        states = ops.split(state, 2 * self.layers, axis=-1)
        x, following = word, []
        for i, layer in enumerate(self.stack):
            x, new = layer.cell(x, states[2 * i : 2 * i + 2])
            following += new
        return x, self.source(real), ops.concatenate(following, axis=-1)

    def call(self, words, annotations, real, state):
        states = ops.split(state, 2 * self.layers, axis=-1)
        x, following = words, []
        for i, layer in enumerate(self.stack):
            x, *new = layer(x, initial_state=states[2 * i : 2 * i + 2])
            following += new
        source = ops.repeat(self.source(real)[:, None], ops.shape(words)[1], axis=1)
        return x, source, ops.concatenate(following, axis=-1)

    def compute_output_spec(self, words, annotations, real, state):
        batch, steps = words.shape[:2]
        shapes = ((batch, steps, self.units), (batch, steps, annotations.shape[1]), state.shape)
        return tuple(keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "layers": self.layers}


def seq2seq_sutskever(
    *,
    source_vocabulary: int = 160_000,
    target_vocabulary: int = 80_000,
    embedding: int = 1000,
    units: int = 1000,
    layers: int = 4,
    drop_rate: float = 0.0,
    name: str = "seq2seq_sutskever",
) -> keras.Model:
    """Four LSTM layers read a text backwards; four others write its translation from the states these end with.

    Takes a dictionary of "source", int32 (N, S), padded with 0 on the right, in the order in which it is read by
    people: the graph turns it round. "target", int32 (N, T), are the words before each that is to be scored. Returns a
    dictionary of "logits" (N, T, target_vocabulary) and "attention" (N, T, S), which is one at the first word, the last
    one read, for all. Dropout at `drop_rate` goes between layers.

    Raises `UsageError` for sizes below 1.

    Differences from the paper: each gate has a bias, which the paper does not mention; `drop_rate`, off by default, is
    Zaremba et al.'s (2014).
    """
    check_sizes(
        name,
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        embedding=embedding,
        units=units,
        layers=layers,
    )
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    real = ops.not_equal(source, 0)
    turned = ops.flip(real, axis=1)

    def embedded(words, size: int, side: str):
        table = keras_layers.Embedding(size, embedding, embeddings_initializer=uniform(), name=f"{side}_embedding")
        x = table(words)
        return keras_layers.Dropout(drop_rate, name=f"{side}_drop")(x) if drop_rate else x

    x, states = embedded(source, source_vocabulary, "source"), []  # (N, S, embedding)
    for i in range(1, layers + 1):
        # The first layer gives its outputs in the order in which it reads, from the last word to the first.
        layer = lstm(units, go_backwards=i == 1, name=f"encoder{i}")
        x, *new = layer(x, mask=real if i == 1 else turned)  # (N, S, units)
        states += new
        if drop_rate:
            x = keras_layers.Dropout(drop_rate, name=f"encoder_drop{i}")(x)
    words = embedded(target, target_vocabulary, "target")  # (N, T, embedding)
    decoder = StackedDecoder(units, layers, name="decoder")
    x, looked, _ = decoder(words, ops.flip(x, axis=1), real, ops.concatenate(states, axis=-1))  # (N, T, units)
    if drop_rate:
        x = keras_layers.Dropout(drop_rate, name="output_drop")(x)
    logits = keras_layers.Dense(target_vocabulary, kernel_initializer=uniform(), name="words")(x)
    return keras.Model({"source": source, "target": target}, {"logits": logits, "attention": looked}, name=name)
