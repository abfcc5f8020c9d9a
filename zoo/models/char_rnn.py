"""The character-level recurrent network of char-rnn (Karpathy 2015)."""

import keras
from keras import ops

from zoo.errors import UsageError
from zoo.layers import LSTM
from zoo.models.common import check_sizes, dropped

CELLS = ("simple", "gru", "lstm")
UNIFORM = {"class_name": "RandomUniform", "config": {"minval": -0.08, "maxval": 0.08}}


def recurrent(cell: str, units: int, *, name: str) -> keras.layers.RNN:
    """One layer; all weights are uniform between −0.08 and 0.08, the forget bias of an LSTM is 1 (train.lua)."""
    options = {
        "return_sequences": True,
        "return_state": True,
        "kernel_initializer": UNIFORM,
        "recurrent_initializer": UNIFORM,
        "bias_initializer": UNIFORM,
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
    """Recurrent layers over characters and a dense layer that predicts the next character.

    Takes a dictionary of "tokens", int32 (N, T), and the initial state of each layer, float (N, units): "state1",
    "state2", …; for an LSTM "state1_h" and "state1_c". Returns a dictionary of "logits" (N, T, vocabulary_size) and the
    states after the last character under the same names. The model keeps no state itself; the caller passes it on.
    `cell` is "simple", "gru" or "lstm". Characters are one-hot vectors, or learned embeddings of width `embedding`.
    Dropout with `drop_rate` follows each recurrent layer.

    Raises `UsageError` for another cell and for sizes below 1.

    Differences from char-rnn: its gates have two biases, which are added; those of Keras have one (1,024 parameters
    fewer at the default size). char-rnn has no `embedding`.
    """
    if cell not in CELLS:
        raise UsageError(f"{name}: cell is {cell!r}; it may be 'simple', 'gru' or 'lstm'.")
    check_sizes(name, layers=layers, units=units, vocabulary_size=vocabulary_size)
    if embedding is not None:
        check_sizes(name, embedding=embedding)
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
        x = dropped(x, drop_rate, name=f"drop{i}")
    decoder = keras.layers.Dense(vocabulary_size, kernel_initializer=UNIFORM, bias_initializer=UNIFORM, name="decoder")
    return keras.Model(inputs, {"logits": decoder(x), **outputs}, name=name)
