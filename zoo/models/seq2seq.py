"""Sequence-to-sequence models with and without attention: Bahdanau, Cho & Bengio, ICLR 2015 (RNNsearch and RNNencdec);
Luong, Pham & Manning, EMNLP 2015."""

import keras
from keras import layers, ops

from zoo.errors import UsageError
from zoo.layers import AttentionDecoder, GatedRNN, Maxout
from zoo.layers.attention import gated_cell, seq2seq_initializer
from zoo.models.common import check_sizes, dropped

ATTENTIONS = ("bahdanau", "luong", "none")


def seq2seq(
    *,
    attention: str = "bahdanau",
    source_vocabulary: int = 30_000,
    target_vocabulary: int = 30_000,
    embedding: int = 620,
    units: int = 1000,
    maxout: int = 500,
    alignment: int = 1000,
    drop_rate: float = 0.0,
    name: str = "seq2seq",
) -> keras.Model:
    """RNNsearch with its bidirectional encoder, or the same model with another attention or none.

    Takes a dictionary of "source", int32 (N, S), padded with 0 on the right, and "target", int32 (N, T), the previous
    token at each target position. Returns a dictionary of "logits" (N, T, target_vocabulary) and "attention" (N, T, S).
    `attention` is "bahdanau", "luong" or "none". Dropout with `drop_rate` follows the embeddings and precedes the last
    layer.

    Raises `UsageError` for another attention and for sizes below 1.

    Differences from Bahdanau et al.: with "bahdanau" none except `drop_rate`, which is 0 by default. With "none" the
    encoder stays bidirectional, so that the models differ in the attention only. Luong et al. stack LSTM layers; here
    their attention runs on the encoder and gated unit of Bahdanau et al., and biases are initialised to zero.
    """
    if attention not in ATTENTIONS:
        raise UsageError(f"{name}: attention is {attention!r}; it may be 'bahdanau', 'luong' or 'none'.")
    check_sizes(
        name,
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
        embedding=embedding,
        units=units,
        maxout=maxout,
        alignment=alignment,
    )
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    valid = ops.not_equal(source, 0)

    def dense(size: int, name: str, **options) -> layers.Dense:
        return layers.Dense(size, kernel_initializer=seq2seq_initializer(attention), name=name, **options)

    def embed(tokens, size: int, side: str):
        initializer = seq2seq_initializer(attention)
        x = layers.Embedding(size, embedding, embeddings_initializer=initializer, name=f"{side}_embedding")(tokens)
        return dropped(x, drop_rate, name=f"{side}_drop")

    x = embed(source, source_vocabulary, "source")  # (N, S, embedding)

    def encode(name: str, **options):
        projected = dense(3 * units, f"{name}_input")(x)
        loop = GatedRNN(gated_cell(units, attention), return_sequences=True, name=name, **options)
        return loop(projected, mask=valid)

    forward = encode("encoder_forward")  # (N, S, units)
    # Keras returns the backward states in the order of computation: that of the first token is the last.
    backward = ops.flip(encode("encoder_backward", go_backwards=True), axis=1)
    annotations = layers.Concatenate(name="annotations")([forward, backward])  # (N, S, 2·units)
    state = dense(units, "first_state", activation="tanh")(backward[:, 0])
    if attention == "luong":
        state = ops.concatenate([state, ops.zeros_like(state)], axis=-1)
    tokens = embed(target, target_vocabulary, "target")  # (N, T, embedding)
    decoder = AttentionDecoder(units, attention, alignment, name="decoder")
    x, weights, _ = decoder(tokens, annotations, valid, state)
    if attention != "luong":
        x = dense(2 * maxout, "deep_output")(x)
        x = Maxout(name="maxout")(x)  # (N, T, maxout)
    x = dropped(x, drop_rate, name="output_drop")
    logits = dense(target_vocabulary, "words")(x)
    return keras.Model({"source": source, "target": target}, {"logits": logits, "attention": weights}, name=name)
