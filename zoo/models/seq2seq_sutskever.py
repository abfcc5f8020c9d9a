"""Sequence to sequence learning with deep LSTMs: Sutskever, Vinyals & Le, NIPS 2014."""

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.layers import StackedDecoder
from zoo.layers.stacked import uniform_initializer, uniform_lstm
from zoo.models.common import check_sizes, dropped


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
    """Four LSTM layers encode the source in reverse order; four more decode from their last states.

    Takes a dictionary of "source", int32 (N, S), padded with 0 on the right, in reading order (the graph reverses it),
    and "target", int32 (N, T), the previous token at each target position. Returns a dictionary of "logits" (N, T,
    target_vocabulary) and "attention" (N, T, S), which is 1 at the first source token, the last one that the encoder
    reads, and 0 elsewhere. Dropout with `drop_rate` goes between layers.

    Raises `UsageError` for sizes below 1.

    Differences from the paper: each gate has a bias, which the paper does not mention; `drop_rate`, 0 by default, is
    from Zaremba et al. (2014).
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
    valid = ops.not_equal(source, 0)
    reversed_valid = ops.flip(valid, axis=1)

    def embed(tokens, size: int, side: str):
        initializer = uniform_initializer()
        table = keras_layers.Embedding(size, embedding, embeddings_initializer=initializer, name=f"{side}_embedding")
        x = table(tokens)
        return dropped(x, drop_rate, name=f"{side}_drop")

    x, states = embed(source, source_vocabulary, "source"), []  # (N, S, embedding)
    for i in range(1, layers + 1):
        # The first layer returns its outputs in the order of computation, from the last token to the first.
        layer = uniform_lstm(units, go_backwards=i == 1, name=f"encoder{i}")
        x, *new = layer(x, mask=valid if i == 1 else reversed_valid)  # (N, S, units)
        states += new
        x = dropped(x, drop_rate, name=f"encoder_drop{i}")
    tokens = embed(target, target_vocabulary, "target")  # (N, T, embedding)
    decoder = StackedDecoder(units, layers, name="decoder")
    x, attention, _ = decoder(tokens, ops.flip(x, axis=1), valid, ops.concatenate(states, axis=-1))  # (N, T, units)
    x = dropped(x, drop_rate, name="output_drop")
    logits = keras_layers.Dense(target_vocabulary, kernel_initializer=uniform_initializer(), name="words")(x)
    return keras.Model({"source": source, "target": target}, {"logits": logits, "attention": attention}, name=name)
