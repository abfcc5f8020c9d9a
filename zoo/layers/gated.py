"""The gated recurrent unit as a cell over precomputed input projections."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="zoo")
class GatedCell(keras.layers.Layer):
    """The recurrence of a gated unit (Cho et al. 2014) for `keras.layers.RNN`, without the input projection.

    Takes (N, 3·units), the projection of a step's input (with biases) for the update gate, the reset gate and the
    candidate state, and the previous state (N, units); returns the next state. An update gate of 1 keeps the state.
    The result equals that of `keras.layers.GRU(reset_after=False)`. Keras projects the input inside each step and
    slices gates and candidate from one variable, whose gradient TensorFlow pads with zeros at each step; both cost
    time. `recurrent_initializer` initialises each of the three square matrices separately.
    """

    def __init__(self, units: int, recurrent_initializer="orthogonal", **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)

    def build(self, input_shape):
        square = (self.units, self.units)

        def initialize(shape, dtype=None):
            copies = [self.recurrent_initializer.clone() for _ in range(shape[1] // self.units)]
            return ops.concatenate([copy(square, dtype=dtype) for copy in copies], axis=1)

        self.gates = self.add_weight(shape=(self.units, 2 * self.units), initializer=initialize, name="gates")
        self.proposal = self.add_weight(shape=square, initializer=initialize, name="proposal")

    def call(self, x, states):
        state = states[0]
        x_update, x_reset, x_candidate = ops.split(x, 3, axis=-1)
        update, reset = ops.split(ops.matmul(state, self.gates), 2, axis=-1)
        update, reset = ops.sigmoid(x_update + update), ops.sigmoid(x_reset + reset)
        candidate = ops.tanh(x_candidate + ops.matmul(reset * state, self.proposal))
        next_state = update * state + (1 - update) * candidate
        return next_state, [next_state]

    def get_config(self):
        initializer = keras.initializers.serialize(self.recurrent_initializer)
        return {**super().get_config(), "units": self.units, "recurrent_initializer": initializer}
