"""Sequence-to-sequence nets with and without attention: Bahdanau, Cho & Bengio, ICLR 2015 (RNNsearch and RNNencdec);
Luong, Pham & Manning, EMNLP 2015."""

from collections.abc import Callable

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.errors import UsageError
from zoo.layers import GatedCell
from zoo.models.parts import check_sizes

ATTENTIONS = ("bahdanau", "luong", "none")


def start(attention: str, deviation: float = 0.01) -> keras.initializers.Initializer:
    """Bahdanau et al., appendix B.1: weights from N(0, 0.01²), the alignment's from N(0, 0.001²), recurrent ones
    orthogonal. Luong et al., section 4.1: all of them uniform between −0.1 and 0.1."""
    if attention == "luong":
        return keras.initializers.RandomUniform(-0.1, 0.1)
    return keras.initializers.RandomNormal(stddev=deviation)


def cell(units: int, attention: str) -> GatedCell:
    """The gated unit of encoder and decoder."""
    return GatedCell(units, start(attention) if attention == "luong" else "orthogonal", name="cell")


class OneWord(keras.layers.Layer):
    """A cell for Keras's recurrent loop around a function of a word and a state, which see what is fixed by closure:
    the loop takes no constants. What the function returns beside the state leaves the loop side by side."""

    def __init__(self, function: Callable, state_size: int, **kwargs):
        super().__init__(**kwargs)
        self.function, self.state_size = function, state_size

    def call(self, word, states):
        *outputs, state = self.function(word, states[0])
        return ops.concatenate(outputs, axis=-1), [state]


@keras.saving.register_keras_serializable(package="zoo")
class AttentionDecoder(keras.layers.Layer):
    """The decoder's recurrence, one target word after another.

    `attention="bahdanau"`: the state before a word asks, the context enters the gated unit with the word, and both
    make the output (appendix A.2.2). `"luong"`: the word moves the state, which then asks; state and context make the
    output, which enters the next step too (sections 3.1 and 3.3, the "general" score). `"none"`: the context is what
    the encoder ended with in either direction, at every step (RNNencdec).

    Called with the words before each (N, T, E), the annotations (N, S, D), which of them are real, bool (N, S), and the
    first state (N, units); for Luong a state is the gated unit's beside the last output. Returns what the output layers
    need, (N, T, …), the attention (N, T, S) and the last state. `step` does the same for one word.
    """

    def __init__(self, units: int, attention: str, alignment: int, **kwargs):
        super().__init__(**kwargs)
        self.units, self.attention, self.alignment = units, attention, alignment
        self.attends = attention != "none"

        def dense(size: int, name: str, deviation: float = 0.01, **options) -> keras_layers.Dense:
            return keras_layers.Dense(size, kernel_initializer=start(attention, deviation), name=name, **options)

        self.word = dense(3 * units, "word")
        self.context = dense(3 * units, "context", use_bias=False)  # for Luong of the last output
        self.cell = cell(units, attention)
        if attention == "bahdanau":
            self.query = dense(alignment, "query", 0.001, use_bias=False)
            self.key = dense(alignment, "key", 0.001, use_bias=False)
            self.score = keras_layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="score")
        if attention == "luong":
            self.key = dense(units, "key", use_bias=False)
            self.combine = dense(units, "combine", activation="tanh", use_bias=False)

    def build(self, words_shape, annotations_shape, real_shape, state_shape):
        found = annotations_shape[-1]
        self.word.build((None, None, words_shape[-1]))
        self.context.build((None, self.units if self.attention == "luong" else found))
        self.cell.build((None, 3 * self.units))
        if self.attention == "bahdanau":
            self.query.build((None, self.units))
            self.key.build((None, None, found))
            self.score.build((None, None, self.alignment))
        if self.attention == "luong":
            self.key.build((None, None, found))
            self.combine.build((None, self.units + found))

    def keys(self, annotations, real):
        """What is computed once a sentence: what states are compared with, (N, S, alignment) or (N, S, units); without
        attention the context (N, D)."""
        if self.attends:
            return self.key(annotations)
        last, half = ops.cast(self.last(real), annotations.dtype), annotations.shape[-1] // 2
        forward = ops.sum(annotations[..., :half] * last[..., None], axis=1)
        return ops.concatenate([forward, annotations[:, 0, half:]], axis=-1)

    def last(self, real):
        """Where each sentence's last word is, (N, S)."""
        count = ops.sum(ops.cast(real, "int32"), axis=1)
        return ops.arange(ops.shape(real)[1])[None] == count[:, None] - 1

    def look(self, state, keys, annotations, real):
        """The context (N, D) of a state (N, units) and its attention (N, S)."""
        if self.attention == "none":
            return keys, ops.cast(self.last(real), annotations.dtype)
        if self.attention == "bahdanau":
            scores = self.score(ops.tanh(self.query(state)[:, None] + keys))[..., 0]
        else:
            scores = ops.matmul(keys, state[..., None])[..., 0]
        scores = ops.cast(scores, keras.backend.result_type(scores.dtype, "float32"))
        attention = ops.cast(ops.softmax(ops.where(real, scores, -1e9), axis=-1), annotations.dtype)
        return ops.matmul(attention[:, None], annotations)[:, 0], attention

    def advance(self, x, state, keys, annotations, real):
        """A step from what the word adds to the gated unit, (N, 3·units): what it finds, its attention, its state."""
        if self.attention == "luong":
            hidden, fed = ops.split(state, 2, axis=-1)
            hidden, _ = self.cell(x + self.context(fed), [hidden])
            context, attention = self.look(hidden, keys, annotations, real)
            output = self.combine(ops.concatenate([hidden, context], axis=-1))
            return output, attention, ops.concatenate([hidden, output], axis=-1)
        context, attention = self.look(state, keys, annotations, real)
        following, _ = self.cell(x + self.context(context), [state])
        return ops.concatenate([state, context], axis=-1), attention, following

    def step(self, word, state, keys, annotations, real):
        """One word (N, E) and the state before it → what the output needs (N, …), the attention and the next state."""
        found, attention, state = self.advance(self.word(word), state, keys, annotations, real)
        return self.output_of(found, word), attention, state

    def output_of(self, found, words):
        """What the output layers need: for Luong what was found, else that and the words."""
        return found if self.attention == "luong" else ops.concatenate([found, words], axis=-1)

    def call(self, words, annotations, real, state):
        keys, dtype = self.keys(annotations, real), self.dtype_policy
        # Not `ops.scan`: on TensorFlow, XLA cannot take its gradient.
        one_word = OneWord(
            lambda x, state: self.advance(x, state, keys, annotations, real), state.shape[-1], dtype=dtype
        )
        loop = keras_layers.RNN(one_word, return_sequences=True, return_state=True, dtype=dtype)
        x, state = loop(self.word(words), initial_state=state)
        width = self.units if self.attention == "luong" else self.units + annotations.shape[-1]
        return self.output_of(x[..., :width], words), x[..., width:], state

    def compute_output_spec(self, words, annotations, real, state):
        width = self.units if self.attention == "luong" else self.units + annotations.shape[-1] + words.shape[-1]
        batch, steps = words.shape[:2]
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


@keras.saving.register_keras_serializable(package="zoo")
class Maxout(keras.layers.Layer):
    """The greater of each two neighbours, (…, 2n) → (…, n): Goodfellow et al. 2013."""

    def call(self, x):
        return ops.max(ops.reshape(x, (*ops.shape(x)[:-1], x.shape[-1] // 2, 2)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)


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
    """RNNsearch with its bidirectional encoder, or the same net with other attention or none.

    Takes a dictionary of "source", int32 (N, S), padded with 0 on the right, and "target", int32 (N, T), the words
    before each that is to be scored; returns a dictionary of "logits" (N, T, target_vocabulary) and "attention" (N, T,
    S). `attention` is "bahdanau", "luong" or "none". Dropout at `drop_rate` follows the embeddings and goes before the
    last layer.

    Raises `UsageError` for another attention and for sizes below 1.

    Differences from Bahdanau et al.: with "bahdanau" none but `drop_rate`, which is off by default; with "none" the
    encoder is bidirectional as the other's, so that nothing but the alignment is gone. Luong et al. stack LSTMs; here
    their attention stands on the same encoder and gated unit, and biases start at zero.
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
    real = ops.not_equal(source, 0)

    def embedded(words, size: int, side: str):
        table = keras_layers.Embedding(
            size, embedding, embeddings_initializer=start(attention), name=f"{side}_embedding"
        )
        x = table(words)
        return keras_layers.Dropout(drop_rate, name=f"{side}_drop")(x) if drop_rate else x

    x = embedded(source, source_vocabulary, "source")  # (N, S, embedding)

    def read(name: str, **options):
        products = keras_layers.Dense(3 * units, kernel_initializer=start(attention), name=f"{name}_input")(x)
        return keras_layers.RNN(cell(units, attention), return_sequences=True, name=name, **options)(
            products, mask=real
        )

    forward = read("encoder_forward")  # (N, S, units)
    # Keras gives the backward states in the order in which they came: the first word's is the last.
    backward = ops.flip(read("encoder_backward", go_backwards=True), axis=1)
    annotations = keras_layers.Concatenate(name="annotations")([forward, backward])  # (N, S, 2·units)
    state = keras_layers.Dense(units, activation="tanh", kernel_initializer=start(attention), name="first_state")(
        backward[:, 0]
    )
    if attention == "luong":
        state = ops.concatenate([state, ops.zeros_like(state)], axis=-1)
    words = embedded(target, target_vocabulary, "target")  # (N, T, embedding)
    decoder = AttentionDecoder(units, attention, alignment, name="decoder")
    x, weights, _ = decoder(words, annotations, real, state)
    if attention != "luong":
        x = keras_layers.Dense(2 * maxout, kernel_initializer=start(attention), name="deep_output")(x)
        x = Maxout(name="maxout")(x)  # (N, T, maxout)
    if drop_rate:
        x = keras_layers.Dropout(drop_rate, name="output_drop")(x)
    logits = keras_layers.Dense(target_vocabulary, kernel_initializer=start(attention), name="words")(x)
    return keras.Model({"source": source, "target": target}, {"logits": logits, "attention": weights}, name=name)
