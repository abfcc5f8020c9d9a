"""An LSTM with a faster training step on CPUs, and the start of recurrent weights."""

import functools

import keras
import numpy as np
from keras import ops

from zoo.layers.device import in_graph_on_cpus


@keras.saving.register_keras_serializable(package="zoo")
class Orthogonal(keras.initializers.Orthogonal):
    """Keras's orthogonal matrices, in bfloat16 rounded from float32: TensorFlow has no QR decomposition in it."""

    def __call__(self, shape, dtype=None):
        dtype = keras.backend.standardize_dtype(dtype)
        return ops.cast(super().__call__(shape, "float32" if dtype == "bfloat16" else dtype), dtype)


@keras.saving.register_keras_serializable(package="zoo")
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with the same weights and arguments and a faster training step on CPUs under TensorFlow.

    TensorFlow has no fused LSTM kernel for CPUs: Keras's loop runs about twenty operations per step, and its gradient
    adds one matrix product for the recurrent kernel per step. Here one loop runs forward and stores the derivatives
    that the gradient needs, one loop runs backward, and the gradient of each kernel is one product after the loop. XLA
    compiles both loops where the number of rows is known. An unknown number of steps is rounded up, so that few
    compiled programs serve all lengths; the added steps are not run.

    This code runs in training, in a graph, without dropout and with the default activations. In all other cases, on
    other devices and on other backends, Keras's code runs.
    """

    def __init__(self, units, recurrent_initializer="zoo>Orthogonal", **kwargs):
        super().__init__(units, recurrent_initializer=recurrent_initializer, **kwargs)

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if not (training and self._uses_cpu_loop()):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        cell = self.cell
        kernels = [ops.cast(weight, self.compute_dtype) for weight in (cell.kernel, cell.recurrent_kernel)]
        sequences = ops.transpose(sequences, (1, 0, 2))
        if mask is not None:
            mask = ops.transpose(ops.cast(mask, self.compute_dtype))[..., None]  # (T, N, 1)
        outputs, h, c = _lstm_on_cpu(sequences, *kernels, ops.convert_to_tensor(cell.bias), *initial_state, mask)
        last = h
        if mask is not None:  # before the first unmasked step of a row Keras returns zeros, whatever the state is
            started = ops.cumsum(mask, axis=0) > 0
            outputs, last = ops.where(started, outputs, 0.0), ops.where(started[-1], h, 0.0)
        return last, ops.transpose(outputs, (1, 0, 2)), [h, c]

    def _uses_cpu_loop(self):
        plain = (self.activation, self.recurrent_activation) == (keras.activations.tanh, keras.activations.sigmoid)
        plain = plain and self.use_bias and not (self.dropout or self.recurrent_dropout or self.go_backwards)
        # Eagerly, a gradient tape traces into compiled functions and adds operations that XLA does not compile.
        return plain and in_graph_on_cpus()


def _lstm_on_cpu(sequences, kernel, recurrent, bias, h, c, mask):
    """Outputs (T, N, units), last h and last c of one layer.

    Takes sequences (T, N, D), the weights of the layer, the initial state (N, units) twice, and a mask (T, N, 1) of
    ones and zeros, or None.
    """
    import tensorflow as tf

    steps, rows = ops.shape(sequences)[:2]  # integers where they are known, else tensors
    rows_known, steps_known = isinstance(rows, int), isinstance(steps, int)
    padded = rows_known and not steps_known
    if padded:
        # XLA compiles a program for each number of steps: four lengths between a power of two and the next suffice.
        octave = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(steps, 8), "float64")) / np.log(2.0))
        unit = tf.cast(2 ** (octave - 3), "int32")
        padding = [[0, -steps % unit], [0, 0], [0, 0]]
        sequences, mask = tf.pad(sequences, padding), None if mask is None else tf.pad(mask, padding)
    forward, backward = _lstm_loops(compiled=rows_known)

    @tf.custom_gradient
    def lstm(sequences, kernel, recurrent, bias, h, c):
        dtype = sequences.dtype
        # In half precision only the products outside of the loops are: XLA's programs for CPUs are slower in it.
        inner = keras.backend.result_type(dtype, "float32")

        def single(*tensors):
            return [None if tensor is None else tf.cast(tensor, inner) for tensor in tensors]

        projected = ops.matmul(sequences, kernel)
        hidden, last_h, last_c, *stored = forward(*single(projected, recurrent, bias, h, c, mask), steps)
        hidden, last_h, last_c = (tf.cast(tensor, dtype) for tensor in (hidden, last_h, last_c))

        def gradient(d_hidden, d_h, d_c):
            d_projected, d_bias, d_h, d_c = backward(
                *stored, *single(recurrent, mask), steps, *single(d_hidden, d_h, d_c), tf.zeros_like(bias)
            )
            d_projected, d_h, d_c = (tf.cast(tensor, dtype) for tensor in (d_projected, d_h, d_c))

            def kernel_gradient(inputs):
                inputs, outputs = (tf.reshape(x, (-1, x.shape[-1])) for x in (inputs, d_projected))
                return tf.matmul(inputs, outputs, transpose_a=True)

            d_sequences = ops.matmul(d_projected, ops.transpose(kernel))
            return d_sequences, kernel_gradient(sequences), kernel_gradient(hidden[:-1]), d_bias, d_h, d_c

        return (hidden[1:], last_h, last_c), gradient

    hidden, h, c = lstm(sequences, kernel, recurrent, bias, h, c)
    return hidden[:steps] if padded else hidden, h, c


@functools.cache
def _lstm_loops(compiled: bool):
    """The forward and the backward loop over the first `steps` steps; later steps are not run."""
    import tensorflow as tf

    @tf.function(jit_compile=compiled, autograph=False)
    def forward(projected, recurrent, bias, h, c, mask, steps):
        # tanh(x) = 2σ(2x) − 1, so one sigmoid computes the three gates and the candidate.
        doubled = np.repeat([1, 1, 2, 1], h.shape[-1]).astype(projected.dtype.as_numpy_dtype)

        def step(t, h, c, hidden, gate_slopes, forget, cell_slopes):
            gates = tf.sigmoid(doubled * (projected[t] + tf.cast(bias, projected.dtype) + h @ recurrent))
            i, f, g, o = tf.split(gates, 4, axis=1)
            g, old_h, old_c = 2 * g - 1, h, c
            c = f * c + i * g
            tanh_c = tf.tanh(c)
            h = o * tanh_c
            # The derivatives of c with respect to i, f and g, and of h with respect to o, each before its activation.
            gate_slope = tf.concat([g * i * (1 - i), old_c * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o)], 1)
            cell_slope = o * (1 - tanh_c * tanh_c)  # the derivative of h with respect to c
            if mask is not None:
                unmasked = mask[t] > 0
                h, c, f = tf.where(unmasked, h, old_h), tf.where(unmasked, c, old_c), tf.where(unmasked, f, 1)
                gate_slope, cell_slope = gate_slope * mask[t], cell_slope * mask[t]
            gate_slopes, cell_slopes = gate_slopes.write(t, gate_slope), cell_slopes.write(t, cell_slope)
            return t + 1, h, c, hidden.write(t + 1, h), gate_slopes, forget.write(t, f), cell_slopes

        count = ops.shape(projected)[0]
        hidden, *stored = (tf.TensorArray(projected.dtype, size) for size in (count + 1, count, count, count))
        initial = (0, h, c, hidden.write(0, h), *stored)
        _, h, c, hidden, *stored = tf.while_loop(lambda t, *_: t < steps, step, initial)
        return hidden.stack(), h, c, *(array.stack() for array in stored)

    @tf.function(jit_compile=compiled, autograph=False)
    def backward(gate_slopes, forget, cell_slopes, recurrent, mask, steps, d_hidden, d_h, d_c, d_bias):
        recurrent = tf.transpose(recurrent)

        def step(t, d_h, d_c, d_bias, d_projected):
            d_h += d_hidden[t]
            d_c += d_h * cell_slopes[t]
            d_gates = tf.concat([d_c, d_c, d_c, d_h], 1) * gate_slopes[t]
            d_bias += tf.reduce_sum(tf.cast(d_gates, d_bias.dtype), 0)
            d_h = d_gates @ recurrent if mask is None else d_gates @ recurrent + d_h * (1 - mask[t])
            return t - 1, d_h, d_c * forget[t], d_bias, d_projected.write(t, d_gates)

        d_projected = tf.TensorArray(gate_slopes.dtype, ops.shape(gate_slopes)[0])
        initial = (steps - 1, d_h, d_c, d_bias, d_projected)
        _, d_h, d_c, d_bias, d_projected = tf.while_loop(lambda t, *_: t >= 0, step, initial)
        return d_projected.stack(), d_bias, d_h, d_c

    return forward, backward
