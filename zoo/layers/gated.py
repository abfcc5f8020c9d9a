"""The gated recurrent unit over precomputed input projections."""

import keras
from keras import ops

from zoo.layers.loop_kernels import FunctionCell, LoopKernels


@keras.saving.register_keras_serializable(package="zoo")
class GatedCell(keras.layers.Layer):
    """The recurrence of a gated unit (Cho et al. 2014) for `keras.layers.RNN`, without the input projection.

    Takes (N, 3·units), the projection of a step's input (with biases) for the update gate, the reset gate and the
    candidate state, and the previous state (N, units); returns the next state. An update gate of 1 keeps the state.
    The result equals that of `keras.layers.GRU(reset_after=False)`. Keras projects the input inside each step and
    slices gates and candidate from one variable, whose gradient TensorFlow pads with zeros at each step; both cost
    time. `recurrent_initializer` initialises each of the three square matrices separately.
    """

    def __init__(self, units: int, recurrent_initializer="zoo>Orthogonal", **kwargs):
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

    def get_build_config(self):
        """None: the layer that has the cell builds it, so that the paths of its weights begin with the layer's name."""

    def call(self, x, states):
        next_state, _ = self.advance(x, states[0], self.gates, self.proposal)
        return next_state, [next_state]

    @staticmethod
    def advance(x, state, gates, proposal):
        """The next state, and what the kernel `proposal` is multiplied with (N, units)."""
        x_update, x_reset, x_candidate = ops.split(x, 3, axis=-1)
        update, reset = ops.split(ops.matmul(state, gates), 2, axis=-1)
        update, reset = ops.sigmoid(x_update + update), ops.sigmoid(x_reset + reset)
        kept = reset * state
        candidate = ops.tanh(x_candidate + ops.matmul(kept, proposal))
        return update * state + (1 - update) * candidate, kept

    def get_config(self):
        initializer = keras.initializers.serialize(self.recurrent_initializer)
        return {**super().get_config(), "units": self.units, "recurrent_initializer": initializer}


@keras.saving.register_keras_serializable(package="zoo")
class GatedRNN(keras.layers.RNN):
    """`keras.layers.RNN` of a `GatedCell`, which in training computes the gradients of the kernels after the loop."""

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if not training:
            return super().inner_loop(sequences, initial_state, mask, training=training)
        units, dtype = self.cell.units, self.compute_dtype
        gates, proposal = (ops.cast(kernel, dtype) for kernel in (self.cell.gates, self.cell.proposal))
        columns = slice(2 * units), slice(2 * units, None)
        kernels = LoopKernels({"gates": (gates, columns[0]), "proposal": (proposal, columns[1])})

        def step(x, state):
            next_state, kept = self.cell.advance(x, state, kernels["gates"], kernels["proposal"])
            return next_state, state, kept, next_state

        cell = FunctionCell(step, units, dtype=self.dtype_policy)
        loop = keras.layers.RNN(
            cell, return_sequences=True, return_state=True, go_backwards=self.go_backwards, dtype=self.dtype_policy
        )
        x, last = loop(kernels.carry(sequences), initial_state=initial_state, mask=mask)
        outputs, *inputs = ops.split(x, 3, axis=-1)
        if self.go_backwards:  # the inputs in the order of `sequences`
            inputs = [ops.flip(tensor, axis=1) for tensor in inputs]
        kernels.inputs = {"gates": inputs[0], "proposal": inputs[1]}
        return outputs[:, -1], outputs, [last]
