"""The decoder of Sutskever, Vinyals & Le 2014: stacked LSTM layers without attention."""

import keras
from keras import layers as keras_layers
from keras import ops


def uniform_initializer() -> keras.initializers.Initializer:
    """Sutskever et al., section 3.4: all weights uniform between −0.08 and 0.08."""
    return keras.initializers.RandomUniform(-0.08, 0.08)


def uniform_lstm(units: int, **options) -> keras_layers.LSTM:
    """An LSTM layer that returns its outputs and its last two states."""
    return keras_layers.LSTM(
        units,
        kernel_initializer=uniform_initializer(),
        recurrent_initializer=uniform_initializer(),
        bias_initializer=uniform_initializer(),
        unit_forget_bias=False,
        return_sequences=True,
        return_state=True,
        **options,
    )


@keras.saving.register_keras_serializable(package="zoo")
class StackedDecoder(keras.layers.Layer):
    """Stacked LSTM layers that start from given states.

    Takes the embeddings of the previous target tokens (N, T, E), the encoder outputs (N, S, D), `valid`, bool (N, S),
    False at padding, and the initial state (N, 2·layers·units), the concatenated hidden and cell states of the layers.
    Returns the inputs of the output layer (N, T, units), the attention (N, T, S) and the last state. `step` computes
    the same for one token. There is no attention mechanism: what is returned as attention is 1 at the first source
    token, the last one that the encoder reads.
    """

    attends = False

    def __init__(self, units: int, layers: int, **kwargs):
        super().__init__(**kwargs)
        self.units, self.layers = units, layers
        self.stack = [uniform_lstm(units, name=f"lstm{i}", dtype=self.dtype_policy) for i in range(1, layers + 1)]

    def build(self, tokens_shape, annotations_shape, valid_shape, state_shape):
        for i, layer in enumerate(self.stack):
            layer.build((None, None, self.units if i else tokens_shape[-1]))

    def keys(self, annotations, valid):
        """What is computed once per sentence: nothing. Returns the annotations."""
        return annotations

    def first_token(self, valid):
        """1 at the first source token, which the encoder reads last, (N, S)."""
        return ops.cast(ops.broadcast_to(ops.arange(ops.shape(valid)[1]) == 0, ops.shape(valid)), self.compute_dtype)

    def step(self, token, state, keys, annotations, valid):
        """One token (N, E) and the previous state → the output of the top layer (N, units), attention, next state."""
        states = ops.split(state, 2 * self.layers, axis=-1)
        x, next_states = token, []
        for i, layer in enumerate(self.stack):
            x, new = layer.cell(x, states[2 * i : 2 * i + 2])
            next_states += new
        return x, self.first_token(valid), ops.concatenate(next_states, axis=-1)

    def call(self, tokens, annotations, valid, state):
        states = ops.split(state, 2 * self.layers, axis=-1)
        x, last_states = tokens, []
        for i, layer in enumerate(self.stack):
            x, *new = layer(x, initial_state=states[2 * i : 2 * i + 2])
            last_states += new
        attention = ops.repeat(self.first_token(valid)[:, None], ops.shape(tokens)[1], axis=1)
        return x, attention, ops.concatenate(last_states, axis=-1)

    def compute_output_spec(self, tokens, annotations, valid, state):
        batch, steps = tokens.shape[:2]
        shapes = ((batch, steps, self.units), (batch, steps, annotations.shape[1]), state.shape)
        return tuple(keras.KerasTensor(shape, dtype=self.compute_dtype) for shape in shapes)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "layers": self.layers}
