"""The decoder of the translation models, with additive, multiplicative or no attention."""

import itertools

import keras
from keras import layers, ops

from zoo.layers.gated import GatedCell
from zoo.layers.loop_kernels import FunctionCell, LoopKernels


def seq2seq_initializer(attention: str, stddev: float = 0.01) -> keras.initializers.Initializer:
    """The initialiser of kernels and embeddings.

    Bahdanau et al., appendix B.1: N(0, 0.01²), for the alignment model N(0, 0.001²), recurrent matrices orthogonal.
    Luong et al., section 4.1: all weights uniform between −0.1 and 0.1.
    """
    if attention == "luong":
        return keras.initializers.RandomUniform(-0.1, 0.1)
    return keras.initializers.RandomNormal(stddev=stddev)


def gated_cell(units: int, attention: str, **options) -> GatedCell:
    """The gated unit of encoder and decoder."""
    initializer = seq2seq_initializer(attention) if attention == "luong" else "zoo>Orthogonal"
    return GatedCell(units, initializer, name="cell", **options)


@keras.saving.register_keras_serializable(package="zoo")
class AttentionDecoder(keras.layers.Layer):
    """The recurrence of the decoder over the target tokens.

    `attention="bahdanau"`: the previous state is the query; the context enters the gated unit together with the token,
    and state and context make the output (appendix A.2.2). `"luong"`: the token updates the state, which then is the
    query; state and context make the output, which is also an input of the next step (sections 3.1 and 3.3, the
    "general" score). `"none"`: at every step the context is the last encoder state of each direction (RNNencdec).

    Takes the embeddings of the previous target tokens (N, T, E), the annotations (N, S, D), `valid`, bool (N, S), False
    at padding, and the initial state (N, units); for Luong a state is the state of the gated unit and the last output,
    concatenated (N, 2·units). Returns the inputs of the output layers (N, T, …), the attention (N, T, S) and the last
    state. `step` computes the same for one token.
    """

    def __init__(self, units: int, attention: str, alignment: int, **kwargs):
        super().__init__(**kwargs)
        self.units, self.attention, self.alignment = units, attention, alignment
        self.attends = attention != "none"

        # A model that is loaded has its policy in the configuration of its layers, and not in that of Keras.
        policy = {"dtype": self.dtype_policy}

        def dense(size: int, name: str, stddev: float = 0.01, **options) -> layers.Dense:
            initializer = seq2seq_initializer(attention, stddev)
            return layers.Dense(size, kernel_initializer=initializer, name=name, **policy, **options)

        self.word = dense(3 * units, "word")
        self.context = dense(3 * units, "context", use_bias=False)  # for Luong it projects the last output
        self.cell = gated_cell(units, attention, **policy)
        if attention == "bahdanau":
            self.query = dense(alignment, "query", 0.001, use_bias=False)
            self.key = dense(alignment, "key", 0.001, use_bias=False)
            self.score = layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="score", **policy)
        if attention == "luong":
            self.key = dense(units, "key", use_bias=False)
            self.combine = dense(units, "combine", activation="tanh", use_bias=False)

    def build(self, tokens_shape, annotations_shape, valid_shape, state_shape):
        features = annotations_shape[-1]
        self.word.build((None, None, tokens_shape[-1]))
        self.context.build((None, self.units if self.attention == "luong" else features))
        self.cell.build((None, 3 * self.units))
        if self.attention == "bahdanau":
            self.query.build((None, self.units))
            self.key.build((None, None, features))
            self.score.build((None, None, self.alignment))
        if self.attention == "luong":
            self.key.build((None, None, features))
            self.combine.build((None, self.units + features))

    def keys(self, annotations, valid):
        """What is computed once per sentence: the keys (N, S, alignment) or (N, S, units); without attention the
        context (N, D)."""
        if self.attends:
            return self.key(annotations)
        last, half = ops.cast(self.last_token(valid), annotations.dtype), annotations.shape[-1] // 2
        forward = ops.sum(annotations[..., :half] * last[..., None], axis=1)
        return ops.concatenate([forward, annotations[:, 0, half:]], axis=-1)

    def last_token(self, valid):
        """A mask of the last token of each sentence, bool (N, S)."""
        count = ops.sum(ops.cast(valid, "int32"), axis=1)
        return ops.arange(ops.shape(valid)[1])[None] == count[:, None] - 1

    def attend(self, query, keys, annotations, valid):
        """The context (N, D) and the attention (N, S) of a query: (N, alignment) for Bahdanau, the state (N, units) for
        Luong."""
        if self.attention == "none":
            return keys, ops.cast(self.last_token(valid), annotations.dtype)
        if self.attention == "bahdanau":
            scores = ops.squeeze(self.score(ops.tanh(ops.expand_dims(query, 1) + keys)), -1)
        else:
            scores = ops.squeeze(ops.matmul(keys, ops.expand_dims(query, -1)), -1)
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        attention = ops.cast(ops.softmax(ops.where(valid, scores, -1e9), axis=-1), annotations.dtype)
        return ops.squeeze(ops.matmul(ops.expand_dims(attention, 1), annotations), 1), attention

    def kernels(self):
        """The kernels that each step multiplies with, in the compute type."""
        kernels = {"context": self.context.kernel, "gates": self.cell.gates, "proposal": self.cell.proposal}
        if self.attention == "bahdanau":
            kernels["query"] = self.query.kernel
        if self.attention == "luong":
            kernels["combine"] = self.combine.kernel
        return {name: ops.cast(kernel, self.compute_dtype) for name, kernel in kernels.items()}

    def advance(self, x, more, state, kernels, keys, annotations, valid):
        """One step from the projected token (N, 3·units).

        `more` is added to the product with the kernel of the query (N, alignment) or the output (N, units), or is 0.
        Returns the step's features, what else kernels are multiplied with, its attention and the next state.
        """
        if self.attention == "luong":
            last, last_output = ops.split(state, 2, axis=-1)
            x += ops.matmul(last_output, kernels["context"])
            hidden, kept = self.cell.advance(x, last, kernels["gates"], kernels["proposal"])
            context, attention = self.attend(hidden, keys, annotations, valid)
            combined = ops.concatenate([hidden, context], axis=-1)
            output = ops.tanh(more + ops.matmul(combined, kernels["combine"]))
            others = ops.concatenate([state, kept, combined], axis=-1)
            return output, others, attention, ops.concatenate([hidden, output], axis=-1)
        query = more + ops.matmul(state, kernels["query"]) if self.attends else None
        context, attention = self.attend(query, keys, annotations, valid)
        x += ops.matmul(context, kernels["context"])
        next_state, kept = self.cell.advance(x, state, kernels["gates"], kernels["proposal"])
        return ops.concatenate([state, context], axis=-1), kept, attention, next_state

    def step(self, token, state, keys, annotations, valid):
        """One token (N, E) and the previous state → inputs of the output layers (N, …), attention, next state."""
        x = self.word(token)
        features, _, attention, state = self.advance(x, 0, state, self.kernels(), keys, annotations, valid)
        return self.output_features(features, token), attention, state

    def output_features(self, features, tokens):
        """The inputs of the output layers: the features, except for Luong with the token embeddings beside them."""
        return features if self.attention == "luong" else ops.concatenate([features, tokens], axis=-1)

    def call(self, tokens, annotations, valid, state):
        units, width = self.units, self.units + annotations.shape[-1]
        columns = {"context": slice(3 * units), "gates": slice(2 * units), "proposal": slice(2 * units, 3 * units)}
        columns |= {"query": slice(3 * units, None), "combine": slice(3 * units, None)}
        kernels = LoopKernels({name: (kernel, columns[name]) for name, kernel in self.kernels().items()})
        keys, x = self.keys(annotations, valid), self.word(tokens)
        if self.attends:
            x = ops.pad(x, [[0, 0], [0, 0], [0, units if self.attention == "luong" else self.alignment]])

        def step(x, state):
            x, more = ops.split(x, [3 * units], axis=-1)
            return self.advance(x, more, state, kernels, keys, annotations, valid)

        # Neither slices nor new axes in the loop: TensorFlow's gradient of these fills a tensor with zeros first.
        # Not `ops.scan`: on TensorFlow XLA cannot differentiate it.
        cell = FunctionCell(step, state.shape[-1], dtype=self.dtype_policy)
        loop = layers.RNN(cell, return_sequences=True, return_state=True, dtype=self.dtype_policy)
        x, state = loop(kernels.carry(x), initial_state=state)
        sizes = [units, units, units, units, width] if self.attention == "luong" else [units, width - units, units]
        ends = list(itertools.accumulate(sizes))
        parts, attention = [x[..., end - size : end] for end, size in zip(ends, sizes, strict=True)], x[..., ends[-1] :]
        if self.attention == "luong":
            output, last, last_output, kept, combined = parts
            kernels.inputs = {"context": last_output, "gates": last, "proposal": kept, "combine": combined}
            return self.output_features(output, tokens), attention, state
        last, context, kept = parts
        kernels.inputs = {"context": context, "gates": last, "proposal": kept, "query": last}
        return self.output_features(x[..., :width], tokens), attention, state

    def compute_output_spec(self, tokens, annotations, valid, state):
        width = self.units if self.attention == "luong" else self.units + annotations.shape[-1] + tokens.shape[-1]
        batch, steps = tokens.shape[:2]
        return (
            keras.KerasTensor((batch, steps, width), dtype=self.compute_dtype),
            keras.KerasTensor((batch, steps, annotations.shape[1]), dtype=self.compute_dtype),
            keras.KerasTensor(state.shape, dtype=self.compute_dtype),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "attention": self.attention,
            "alignment": self.alignment,
        }
