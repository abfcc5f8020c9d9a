"""The few layers that Keras lacks. Keras 3 alone, on any backend."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

_serializable = keras.saving.register_keras_serializable(package="zoo")


@_serializable
class ScaledTanh(keras.layers.Layer):
    """LeCun's squashing function 1.7159 · tanh(2x/3), which maps ±1 to ±1 (LeCun et al. 1998, appendix A).

    Any shape in, the same shape out; masks pass.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs):
        return 1.7159 * ops.tanh(inputs * (2 / 3))

    def compute_output_shape(self, input_shape):
        return input_shape


@_serializable
class Subsampling2D(keras.layers.Layer):
    """LeNet-5's trainable subsampling: the sum of each 2 × 2 block, times a coefficient, plus a bias, one pair a map.

    (N, H, W, C) → (N, H // 2, W // 2, C) with 2·C weights (LeCun et al. 1998, section II-B). The coefficients start
    uniformly within ±`initial_range` / 4, four being each unit's fan-in.
    """

    def __init__(self, initial_range: float = 2.4, **kwargs: Any):
        super().__init__(**kwargs)
        self.initial_range = initial_range
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        limit = self.initial_range / 4
        for name in ("coefficient", "bias"):
            initializer = keras.initializers.RandomUniform(-limit, limit)
            setattr(self, name, self.add_weight(shape=(input_shape[-1],), initializer=initializer, name=name))

    def call(self, inputs):
        return 4.0 * ops.average_pool(inputs, 2, 2, "valid") * self.coefficient + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (batch, height // 2, width // 2, channels)

    def get_config(self):
        return {**super().get_config(), "initial_range": self.initial_range}


@_serializable
class PartialConv2D(keras.layers.Layer):
    """A valid convolution whose output maps see only some input maps (LeNet-5's C3).

    (N, H, W, C) → (N, H − k + 1, W − k + 1, len(connections)). `connections[m]` lists the input maps that feed output
    map m. The variable holds one k × k kernel for each connected pair, (pairs, k·k), and is scattered into the dense
    kernel in the forward pass, so that weights which the paper does not have do not exist. Weights start uniformly
    within ±`initial_range` / fan-in of their own map.
    """

    def __init__(
        self, connections: Sequence[Sequence[int]], kernel_size: int = 5, initial_range: float = 2.4, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.connections = [list(inputs) for inputs in connections]
        self.kernel_size = kernel_size
        self.initial_range = initial_range
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape):
        self.channels = input_shape[-1]
        maps, area = len(self.connections), self.kernel_size**2
        # Row i·maps + m of the dense kernel joins input map i to output map m.
        pairs = [(i, m) for m, inputs in enumerate(self.connections) for i in inputs]
        self.rows = [[i * maps + m] for i, m in pairs]
        limits = [self.initial_range / (len(inputs) * area) for inputs in self.connections]

        def uniform(scales):
            def draw(shape, dtype=None):
                unit = keras.random.uniform(shape, -1.0, 1.0, dtype=dtype)
                return unit * ops.reshape(ops.convert_to_tensor(scales, dtype), (-1, *[1] * (len(shape) - 1)))

            return draw

        self.kernel = self.add_weight(
            shape=(len(pairs), area), initializer=uniform([limits[m] for _, m in pairs]), name="kernel"
        )
        self.bias = self.add_weight(shape=(maps,), initializer=uniform(limits), name="bias")

    def call(self, inputs):
        maps = len(self.connections)
        kernel = ops.scatter(self.rows, self.kernel, (self.channels * maps, self.kernel_size**2))
        kernel = ops.reshape(kernel, (self.channels, maps, self.kernel_size, self.kernel_size))
        kernel = ops.transpose(kernel, (2, 3, 0, 1))  # (k, k, C, maps)
        return ops.conv(inputs, kernel, padding="valid") + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, height - self.kernel_size + 1, width - self.kernel_size + 1, len(self.connections))

    def get_config(self):
        return {
            **super().get_config(),
            "connections": self.connections,
            "kernel_size": self.kernel_size,
            "initial_range": self.initial_range,
        }


@_serializable
class EuclideanRBF(keras.layers.Layer):
    """Negative squared distance to fixed code vectors (LeNet-5's output, LeCun et al. 1998, section II-B).

    (N, D) → (N, classes): −Σ_j (x_j − code_ij)². The paper's unit gives the distance, a penalty; its negative is the
    logarithm of an unnormalised Gaussian, which makes it a logit. The codes are constants, not weights.
    """

    def __init__(self, codes: Sequence[Sequence[int]], **kwargs: Any):
        super().__init__(**kwargs)
        self.codes = [list(code) for code in codes]

    def call(self, inputs):
        codes = ops.convert_to_tensor(self.codes, dtype=self.compute_dtype)
        return -ops.sum(ops.square(inputs[:, None, :] - codes), axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.codes))

    def get_config(self):
        return {**super().get_config(), "codes": self.codes}


@_serializable
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, same weights and arguments, on TensorFlow's fused kernel where it fits.

    Keras takes moments and normalises with separate ops, which costs a training step of a convolutional net about a
    third of its time. The fused kernel takes rank 4 with channels last in half, bfloat16 or single precision; on any
    other input, with a mask, synchronised or renormalised, and on any other backend, Keras's own code runs.

    Outputs and gradients equal Keras's. The moving variance collects the unbiased batch variance, n/(n − 1) times what
    Keras collects of n places of all examples (masked and renormalised inputs excepted): it is what the paper's
    inference uses (Ioffe & Szegedy 2015, algorithm 2).
    """

    def call(self, inputs, training=None, mask=None):
        fused = (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and not (self.synchronized or self.renorm)
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        )
        training = bool(training) and self.trainable
        if fused:
            return self._fused_call(inputs, training)
        if not training or mask is not None or self.renorm:
            return super().call(inputs, training=training, mask=mask)
        before = self.momentum * ops.convert_to_tensor(self.moving_variance)
        outputs = super().call(inputs, training=training)
        variance = ops.convert_to_tensor(self.moving_variance) - before
        places = self._replicas() * ops.prod(ops.shape(inputs)) // inputs.shape[self.axis]
        places = ops.cast(places, variance.dtype)
        self.moving_variance.assign(before + variance * (places / ops.maximum(places - 1, 1)))
        return outputs

    def _replicas(self):
        """How many devices' batches are normalised together."""
        if not self.synchronized:
            return 1
        import tensorflow as tf

        return tf.distribute.get_replica_context().num_replicas_in_sync

    def _fused_call(self, inputs, training):
        import tensorflow as tf

        # The kernel computes in single precision whatever the inputs' dtype, and has no way to leave a term out.
        channels = (inputs.shape[-1],)
        scale = ops.cast(self.gamma, "float32") if self.scale else tf.ones(channels)
        offset = ops.cast(self.beta, "float32") if self.center else tf.zeros(channels)
        # The raw op, because tf.compat.v1.nn.fused_batch_norm silently raises a small epsilon to 1.001e-5.
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=ops.cast(self.moving_mean, "float32"),
            variance=ops.cast(self.moving_variance, "float32"),
            epsilon=self.epsilon,
            exponential_avg_factor=1.0 - self.momentum,
            is_training=training,
        )
        if training:
            self.moving_mean.assign(ops.cast(mean, self.moving_mean.dtype))
            self.moving_variance.assign(ops.cast(variance, self.moving_variance.dtype))
        return ops.cast(outputs, self.compute_dtype)


@_serializable
class LocalResponseNormalization(keras.layers.Layer):
    """Brightness normalisation across neighbouring maps (Krizhevsky, Sutskever & Hinton 2012, section 3.3).

    b_i = a_i / (k + α Σ_j a_j²)^β, the sum over the maps with |i − j| ≤ `size` // 2; any shape with channels last in,
    the same shape out. α is not divided by `size`, as in the paper; Caffe and PyTorch divide it. `groups` splits the
    channels into towers that do not see each other.
    """

    def __init__(
        self, size: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, groups: int = 1, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.size, self.k, self.alpha, self.beta, self.groups = size, k, alpha, beta, groups

    def build(self, input_shape):
        maps = np.arange(input_shape[-1])
        tower = maps // (input_shape[-1] // self.groups)
        near = np.abs(maps[:, None] - maps) <= self.size // 2
        self.neighbours = (near & (tower[:, None] == tower)).astype("float32")

    def call(self, inputs):
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))  # squares overflow half precision
        # A product with the band matrix of neighbours: twice as fast, with its gradient, as TensorFlow's own kernel.
        total = self.k + self.alpha * ops.matmul(ops.square(x), ops.cast(self.neighbours, x.dtype))
        if self.beta == 0.75:
            root = ops.rsqrt(total)
            scale = root * ops.sqrt(root)  # total^-0.75 without the slow power
        else:
            scale = ops.power(total, -self.beta)
        return ops.cast(x * scale, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"size": self.size, "k": self.k, "alpha": self.alpha, "beta": self.beta, "groups": self.groups}
        return {**super().get_config(), **config}


@_serializable
class IdentityShortcut(keras.layers.Layer):
    """A shortcut without weights into a smaller, deeper map: every `stride`-th pixel, then zeros for the new channels.

    (N, H, W, C) → (N, ⌈H/stride⌉, ⌈W/stride⌉, filters): option A of He et al. 2016, section 3.3.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.filters, self.stride = filters, stride

    def call(self, inputs):
        # Every stride-th pixel, as windows of one pixel: TensorFlow's strided slice takes five times as long on a CPU.
        x = ops.average_pool(inputs, 1, self.stride, data_format="channels_last") if self.stride > 1 else inputs
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.filters - inputs.shape[-1]]])

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (None if n is None else -(-n // self.stride) for n in (height, width))
        return (batch, height, width, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@_serializable
class PerWord(keras.layers.Layer):
    """A layer for each word by itself: letters (N, T, C), padded with 0 on the right → (N, T, features).

    Keras's `TimeDistributed` wants to know T and runs the steps one after another; here all words are one batch.
    On CPUs under TensorFlow, in a graph that does not know how many there are, they are sorted by length and run in
    blocks, each as wide as its longest word, so that next to nothing is padding. XLA has no sizes that depend on data:
    `in_blocks` is to be False where it compiles the whole.
    """

    BLOCK = 128  # words

    def __init__(self, layer: keras.layers.Layer, features: int, **kwargs):
        super().__init__(**kwargs)
        self.layer, self.features, self.in_blocks = layer, features, True

    def build(self, input_shape):
        self.layer.build((None, *input_shape[2:]))

    def call(self, letters, training=False):
        sentences, words, width = ops.shape(letters)  # numbers where they are known, else tensors
        count, letters = sentences * words, ops.reshape(letters, (-1, width))
        if self.in_blocks and not isinstance(count, int) and _in_a_graph_on_cpus():
            spelled = self._in_blocks(letters, training)
        else:
            spelled = self.layer(letters, training=training)
        return ops.reshape(spelled, (sentences, words, self.features))

    def _in_blocks(self, letters, training):
        import tensorflow as tf

        length = tf.reduce_sum(tf.cast(letters != 0, "int32"), axis=1)
        order = tf.argsort(length, direction="DESCENDING", stable=True)
        letters, longest = tf.gather(letters, order), tf.gather(length, order[:: self.BLOCK])
        if training:  # whole blocks, whose number of rows is known: an LSTM is compiled for it
            letters = tf.pad(letters, [[0, -tf.shape(letters)[0] % self.BLOCK], [0, 0]])

        def run(i, done):
            block = letters[i * self.BLOCK : (i + 1) * self.BLOCK, : tf.maximum(longest[i], 1)]
            block = tf.ensure_shape(block, (self.BLOCK if training else None, None))
            return i + 1, done.write(i, self.layer(block, training=training))

        done = tf.TensorArray(self.compute_dtype, tf.size(longest), element_shape=(None, self.features))
        _, done = tf.while_loop(lambda i, _: i < tf.size(longest), run, (0, done))
        return tf.gather(done.concat(), tf.math.invert_permutation(order))

    def compute_output_spec(self, letters, training=False):
        return keras.KerasTensor((*letters.shape[:2], self.features), dtype=self.compute_dtype)

    def get_config(self):
        return {**super().get_config(), "layer": keras.layers.serialize(self.layer), "features": self.features}

    @classmethod
    def from_config(cls, config):
        return cls(keras.layers.deserialize(config.pop("layer")), **config)


@_serializable
class FromTheEnd(keras.layers.Layer):
    """Rows (N, T, …) of `length` (N,) places and padding on the right: the places in reverse, the padding where it was.

    Its own inverse, and its own gradient.
    """

    def call(self, x, length):
        shape = ops.shape(x)
        rows, steps = ops.arange(shape[0])[:, None], ops.arange(shape[1])
        length = ops.cast(length, "int32")[:, None]
        place = ops.where(steps < length, length - 1 - steps, steps) + rows * shape[1]

        # Whole vectors at once: Keras's `take_along_axis` picks number by number, and takes 20 times as long.
        @ops.custom_gradient
        def turned(x):
            def turn(x):
                return ops.reshape(ops.take(ops.reshape(x, (shape[0] * shape[1], *shape[2:])), place, axis=0), shape)

            return turn(x), lambda *args, upstream=None: turn(args[0] if upstream is None else upstream)

        return turned(x)

    def compute_output_spec(self, x, length):
        return keras.KerasTensor(x.shape, dtype=x.dtype)


@_serializable
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM`, same weights and arguments, with a faster training step on CPUs under TensorFlow.

    TensorFlow has no fused LSTM for CPUs: Keras's loop starts some twenty operations a step, and its gradient adds up
    one product for the recurrent weights a step. Here one loop goes forwards and keeps the slopes that the gradient
    needs, one goes backwards, and the weights' gradient is one product after it. XLA compiles both where the number of
    rows is known; a number of steps that is not is rounded up, so that few programs serve all, and what was added is
    not run. That is how training runs in a graph, without dropout or other activations; all else, other devices and
    other backends are Keras's.
    """

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if not (training and self._has_loop_of_its_own()):
            return super().inner_loop(sequences, initial_state, mask, training=training)
        cell = self.cell
        weights = [ops.cast(weight, self.compute_dtype) for weight in (cell.kernel, cell.recurrent_kernel)]
        sequences, real = ops.transpose(sequences, (1, 0, 2)), None
        if mask is not None:
            real = ops.transpose(ops.cast(mask, self.compute_dtype))[..., None]  # (T, N, 1)
        outputs, h, c = _lstm_on_cpu(sequences, *weights, ops.convert_to_tensor(cell.bias), *initial_state, real)
        last = h
        if mask is not None:  # before a row's first real step Keras gives zeros, whatever the state
            begun = ops.cumsum(real, axis=0) > 0
            outputs, last = ops.where(begun, outputs, 0.0), ops.where(begun[-1], h, 0.0)
        return last, ops.transpose(outputs, (1, 0, 2)), [h, c]

    def _has_loop_of_its_own(self):
        plain = (self.activation, self.recurrent_activation) == (keras.activations.tanh, keras.activations.sigmoid)
        plain = plain and self.use_bias and not (self.dropout or self.recurrent_dropout or self.go_backwards)
        # Outside of graphs a tape looks into compiled functions, and what it then adds does not compile.
        return plain and _in_a_graph_on_cpus()


def on_cpus() -> bool:
    """Whether Keras runs on TensorFlow, and TensorFlow on nothing but CPUs."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())


def _in_a_graph_on_cpus():
    if not on_cpus():
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()


def _lstm_on_cpu(sequences, kernel, recurrent, bias, h, c, real):
    """Outputs (T, N, units), last h and last c, from sequences (T, N, D), a layer's weights, the state before, and
    which steps are real, (T, N, 1) of ones and zeros, or None where all are."""
    import tensorflow as tf

    steps, rows = ops.shape(sequences)[:2]  # numbers where they are known, else tensors
    rows_known, steps_known = isinstance(rows, int), isinstance(steps, int)
    rounded = rows_known and not steps_known
    if rounded:
        # XLA makes a program for each number of steps: between a power of two and the next, four are enough.
        octave = tf.math.ceil(tf.math.log(tf.cast(tf.maximum(steps, 8), "float64")) / np.log(2.0))
        unit = tf.cast(2 ** (octave - 3), "int32")
        more = [[0, -steps % unit], [0, 0], [0, 0]]
        sequences, real = tf.pad(sequences, more), None if real is None else tf.pad(real, more)
    forwards, backwards = _lstm_loops(compiled=rows_known)

    @tf.custom_gradient
    def lstm(sequences, kernel, recurrent, bias, h, c):
        products = ops.matmul(sequences, kernel)
        hidden, last_h, last_c, *kept = forwards(products, recurrent, bias, h, c, real, steps)

        def gradient(d_hidden, d_h, d_c):
            d_products, d_bias, d_h, d_c = backwards(
                *kept, recurrent, real, steps, d_hidden, d_h, d_c, tf.zeros_like(bias)
            )

            def of_weights(factors):
                factors, products = (tf.reshape(x, (-1, x.shape[-1])) for x in (factors, d_products))
                return tf.matmul(factors, products, transpose_a=True)

            d_sequences = ops.matmul(d_products, ops.transpose(kernel))
            return d_sequences, of_weights(sequences), of_weights(hidden[:-1]), d_bias, d_h, d_c

        return (hidden[1:], last_h, last_c), gradient

    hidden, h, c = lstm(sequences, kernel, recurrent, bias, h, c)
    return hidden[:steps] if rounded else hidden, h, c


@functools.cache
def _lstm_loops(compiled: bool):
    """What `steps` steps give, and their gradient; what stands after them is not run."""
    import tensorflow as tf

    @tf.function(jit_compile=compiled, autograph=False)
    def forwards(products, recurrent, bias, h, c, real, steps):
        # The proposal's tanh is the sigmoid of twice as much, 2σ(2x) − 1: one function for all that a product gives.
        twice = np.repeat([1, 1, 2, 1], h.shape[-1]).astype(products.dtype.as_numpy_dtype)

        def step(t, h, c, hidden, slopes, forget, into_cell):
            gates = tf.sigmoid(twice * (products[t] + tf.cast(bias, products.dtype) + h @ recurrent))
            i, f, g, o = tf.split(gates, 4, axis=1)
            g, old_h, old_c = 2 * g - 1, h, c
            c = f * c + i * g
            squashed = tf.tanh(c)
            h = o * squashed
            slope = tf.concat([g * i * (1 - i), old_c * f * (1 - f), i * (1 - g * g), squashed * o * (1 - o)], 1)
            into = o * (1 - squashed * squashed)
            if real is not None:
                is_real = real[t] > 0
                h, c, f = tf.where(is_real, h, old_h), tf.where(is_real, c, old_c), tf.where(is_real, f, 1)
                slope, into = slope * real[t], into * real[t]
            slopes, forget, into_cell = slopes.write(t, slope), forget.write(t, f), into_cell.write(t, into)
            return t + 1, h, c, hidden.write(t + 1, h), slopes, forget, into_cell

        count = ops.shape(products)[0]
        hidden, *kept = (tf.TensorArray(products.dtype, size) for size in (count + 1, count, count, count))
        begin = (0, h, c, hidden.write(0, h), *kept)
        _, h, c, hidden, *kept = tf.while_loop(lambda t, *_: t < steps, step, begin)
        return hidden.stack(), h, c, *(array.stack() for array in kept)

    @tf.function(jit_compile=compiled, autograph=False)
    def backwards(slopes, forget, into_cell, recurrent, real, steps, d_hidden, d_h, d_c, d_bias):
        recurrent = tf.transpose(recurrent)

        def step(t, d_h, d_c, d_bias, d_products):
            d_h += d_hidden[t]
            d_c += d_h * into_cell[t]
            d_gates = tf.concat([d_c, d_c, d_c, d_h], 1) * slopes[t]
            d_bias += tf.reduce_sum(tf.cast(d_gates, d_bias.dtype), 0)
            d_h = d_gates @ recurrent if real is None else d_gates @ recurrent + d_h * (1 - real[t])
            return t - 1, d_h, d_c * forget[t], d_bias, d_products.write(t, d_gates)

        d_products = tf.TensorArray(slopes.dtype, ops.shape(slopes)[0])
        begin = (steps - 1, d_h, d_c, d_bias, d_products)
        _, d_h, d_c, d_bias, d_products = tf.while_loop(lambda t, *_: t >= 0, step, begin)
        return d_products.stack(), d_bias, d_h, d_c

    return forwards, backwards


@_serializable
class GatedCell(keras.layers.Layer):
    """The recurrence of a gated unit (Cho et al. 2014), to be run by `keras.layers.RNN` over products made beforehand.

    Takes (N, 3·units), what the input's weights and biases make of a step's input for the update gate, the reset gate
    and the proposed state, and the state (N, units); returns the next state. An update gate of one keeps the state.
    It computes what `keras.layers.GRU(reset_after=False)` does: there the input's product is a part of each step, and
    the weights of gates and proposal are slices of one variable, whose gradient TensorFlow fills with zeros at each
    step. `recurrent_initializer` starts each of the three square matrices by itself.
    """

    def __init__(self, units: int, recurrent_initializer="orthogonal", **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.recurrent_initializer = keras.initializers.get(recurrent_initializer)

    def build(self, input_shape):
        square = (self.units, self.units)

        def start(shape, dtype=None):
            copies = [self.recurrent_initializer.clone() for _ in range(shape[1] // self.units)]
            return ops.concatenate([one(square, dtype=dtype) for one in copies], axis=1)

        self.gates = self.add_weight(shape=(self.units, 2 * self.units), initializer=start, name="gates")
        self.proposal = self.add_weight(shape=square, initializer=start, name="proposal")

    def call(self, x, states):
        state = states[0]
        x_update, x_reset, x_proposed = ops.split(x, 3, axis=-1)
        update, reset = ops.split(ops.matmul(state, self.gates), 2, axis=-1)
        update, reset = ops.sigmoid(x_update + update), ops.sigmoid(x_reset + reset)
        proposed = ops.tanh(x_proposed + ops.matmul(reset * state, self.proposal))
        following = update * state + (1 - update) * proposed
        return following, [following]

    def get_config(self):
        start = keras.initializers.serialize(self.recurrent_initializer)
        return {**super().get_config(), "units": self.units, "recurrent_initializer": start}
