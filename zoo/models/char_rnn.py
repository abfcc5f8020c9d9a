"""The character-level recurrent network of Karpathy's char-rnn (2015)."""

import keras
from keras import ops

from zoo.errors import UsageError
from zoo.layers import LSTM
from zoo.models.parts import check_sizes

CELLS = ("simple", "gru", "lstm")


def recurrent(cell: str, units: int, *, name: str) -> keras.layers.RNN:
    """One layer; every weight starts uniform between −0.08 and 0.08, an LSTM's forget bias at 1 (train.lua)."""
    start = {"class_name": "RandomUniform", "config": {"minval": -0.08, "maxval": 0.08}}
    options = {
        "return_sequences": True,
        "return_state": True,
        "kernel_initializer": start,
        "recurrent_initializer": start,
        "bias_initializer": start,
        "name": name,
    }
    if cell == "lstm":
        return LSTM(units, **options)
    if cell == "gru":
        return keras.layers.GRU(units, reset_after=False, **options)
    return keras.layers.SimpleRNN(units, **options)


def char_rnn(
    *,
    cell: str = "lstm",
    layers: int = 2,
    units: int = 128,
    embedding: int | None = None,
    vocabulary_size: int = 65,
    drop_rate: float = 0.0,
    name: str = "char_rnn",
) -> keras.Model:
    """Recurrent layers over characters, and a dense layer that scores the next character.

    Takes a dictionary of "tokens", int32 (N, T), and the state of each layer, float (N, units): "state1", "state2", …,
    for an LSTM "state1_h" and "state1_c". Returns a dictionary of "logits" (N, T, vocabulary_size) and the states after
    the last character, under the same names: no state is hidden, whoever calls carries it on. `cell` is "simple", "gru"
    or "lstm". Characters enter one-hot, or with `embedding` as learned vectors of that width. Dropout at `drop_rate`
    follows each recurrent layer.

    Raises `UsageError` for another cell and for sizes below 1.

    Differences from char-rnn: its gates have two biases, which are added; Keras's have one (1,024 numbers less at the
    default size). It has no embedding.
    """
    if cell not in CELLS:
        raise UsageError(f"{name}: cell is {cell!r}; it may be 'simple', 'gru' or 'lstm'.")
    check_sizes(name, layers=layers, units=units, vocabulary_size=vocabulary_size)
    if embedding is not None and embedding < 1:
        raise UsageError(f"{name}: embedding is {embedding!r}; it must be at least 1, or None for one-hot input.")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    inputs, outputs = {"tokens": tokens}, {}
    if embedding is None:
        x = ops.one_hot(tokens, vocabulary_size, dtype=keras.config.dtype_policy().compute_dtype)  # (N, T, V)
    else:
        x = keras.layers.Embedding(vocabulary_size, embedding, name="embedding")(tokens)
    for i in range(1, layers + 1):
        names = [f"state{i}_h", f"state{i}_c"] if cell == "lstm" else [f"state{i}"]
        inputs |= {state: keras.Input((units,), name=state) for state in names}
        x, *states = recurrent(cell, units, name=f"rnn{i}")(x, initial_state=[inputs[state] for state in names])
        outputs |= dict(zip(names, states, strict=True))
        if drop_rate:
            x = keras.layers.Dropout(drop_rate, name=f"drop{i}")(x)
    start = {"class_name": "RandomUniform", "config": {"minval": -0.08, "maxval": 0.08}}
    logits = keras.layers.Dense(vocabulary_size, kernel_initializer=start, bias_initializer=start, name="decoder")(x)
    return keras.Model(inputs, {"logits": logits, **outputs}, name=name)
