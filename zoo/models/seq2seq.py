"""Sequence-to-sequence nets with and without attention: Bahdanau, Cho & Bengio, ICLR 2015 (RNNsearch and RNNencdec);
Luong, Pham & Manning, EMNLP 2015."""

import keras
from keras import layers as keras_layers
from keras import ops

from zoo.errors import UsageError

ATTENTIONS = ("bahdanau", "luong", "none")


def small_normal(deviation: float = 0.01) -> keras.initializers.Initializer:
    """Appendix B.1: weights from N(0, 0.01²), the alignment's from N(0, 0.001²), recurrent ones orthogonal."""
    return keras.initializers.RandomNormal(stddev=deviation)


def gru(units: int, **options) -> keras_layers.GRU:
    """A gated unit as Cho et al. 2014 have it: the reset gate acts before the product with the recurrent weights."""
    return keras_layers.GRU(units, reset_after=False, kernel_initializer=small_normal(), **options)


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
        self.cell = keras_layers.GRUCell(units, reset_after=False, kernel_initializer=small_normal(), name="cell")
        if attention == "bahdanau":
            start = small_normal(0.001)
            self.query = keras_layers.Dense(alignment, use_bias=False, kernel_initializer=start, name="query")
            self.key = keras_layers.Dense(alignment, use_bias=False, kernel_initializer=start, name="key")
            self.score = keras_layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="score")
        if attention == "luong":
            self.key = keras_layers.Dense(units, use_bias=False, kernel_initializer=small_normal(), name="key")
            self.combine = keras_layers.Dense(
                units, activation="tanh", use_bias=False, kernel_initializer=small_normal(), name="combine"
            )

    def build(self, words_shape, annotations_shape, real_shape, state_shape):
        width, context = words_shape[-1], annotations_shape[-1]
        self.cell.build((None, width + (self.units if self.attention == "luong" else context)))
        if self.attention == "bahdanau":
            self.query.build((None, self.units))
            self.key.build((None, None, context))
            self.score.build((None, None, self.alignment))
        if self.attention == "luong":
            self.key.build((None, None, context))
            self.combine.build((None, self.units + context))

    def keys(self, annotations):
        """What the states are compared with, computed once a sentence: (N, S, alignment), or (N, S, units)."""
        return annotations if self.attention == "none" else self.key(annotations)

    def look(self, state, keys, annotations, real):
        """The context (N, D) of a state (N, units) and its attention (N, S)."""
        if self.attention == "none":
            count = ops.sum(ops.cast(real, "int32"), axis=1)
            last = ops.cast(ops.arange(ops.shape(real)[1])[None] == count[:, None] - 1, annotations.dtype)
            half = annotations.shape[-1] // 2
            forward = ops.sum(annotations[..., :half] * last[..., None], axis=1)
            return ops.concatenate([forward, annotations[:, 0, half:]], axis=-1), last
        if self.attention == "bahdanau":
            scores = self.score(ops.tanh(self.query(state)[:, None] + keys))[..., 0]
        else:
            scores = ops.sum(state[:, None] * keys, axis=-1)
        attention = ops.softmax(ops.where(real, scores, -1e9), axis=-1)
        return ops.sum(annotations * attention[..., None], axis=1), attention

    def step(self, word, state, keys, annotations, real):
        """One word (N, E) and the state before it → what the output needs (N, …), the attention and the next state."""
        if self.attention == "luong":
            hidden, fed = state[:, : self.units], state[:, self.units :]
            _, (hidden,) = self.cell(ops.concatenate([word, fed], axis=-1), [hidden])
            context, attention = self.look(hidden, keys, annotations, real)
            output = self.combine(ops.concatenate([hidden, context], axis=-1))
            return output, attention, ops.concatenate([hidden, output], axis=-1)
        context, attention = self.look(state, keys, annotations, real)
        _, (following,) = self.cell(ops.concatenate([word, context], axis=-1), [state])
        return ops.concatenate([state, word, context], axis=-1), attention, following

    def call(self, words, annotations, real, state):
        keys = self.keys(annotations)

        def advance(carried, word):
            output, attention, state = self.step(word, carried[0], keys, annotations, real)
            # On TensorFlow, Keras's scan collects nothing but what it carries.
            carried = (state, output, attention)
            return carried, carried

        output = state[:, : self.units]
        if self.attention != "luong":
            output = ops.concatenate([output, words[:, 0], annotations[:, 0]], axis=-1)
        begin = (state, ops.zeros_like(output), ops.zeros_like(annotations[..., 0]))
        (state, _, _), (_, outputs, attention) = ops.scan(advance, begin, ops.transpose(words, (1, 0, 2)))
        return ops.transpose(outputs, (1, 0, 2)), ops.transpose(attention, (1, 0, 2)), state

    def compute_output_spec(self, words, annotations, real, state):
        width = self.units if self.attention == "luong" else self.units + words.shape[-1] + annotations.shape[-1]
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
    their attention stands on the same encoder and gated unit.
    """
    if attention not in ATTENTIONS:
        raise UsageError(f"{name}: attention is {attention!r}; it may be 'bahdanau', 'luong' or 'none'.")
    sizes = {
        "source_vocabulary": source_vocabulary,
        "target_vocabulary": target_vocabulary,
        "embedding": embedding,
        "units": units,
        "maxout": maxout,
        "alignment": alignment,
    }
    for key, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UsageError(f"{name}: {key} is {value!r}; it must be a whole number of at least 1.")
    source = keras.Input((None,), dtype="int32", name="source")
    target = keras.Input((None,), dtype="int32", name="target")
    real = ops.not_equal(source, 0)

    def embedded(words, size: int, side: str):
        table = keras_layers.Embedding(size, embedding, embeddings_initializer=small_normal(), name=f"{side}_embedding")
        x = table(words)
        return keras_layers.Dropout(drop_rate, name=f"{side}_drop")(x) if drop_rate else x

    x = embedded(source, source_vocabulary, "source")  # (N, S, embedding)
    forth = gru(units, return_sequences=True, name="encoder_forward")
    back = gru(units, return_sequences=True, go_backwards=True, name="encoder_backward")
    forward = forth(x, mask=real)  # (N, S, units)
    # Keras gives the backward states in the order in which they came: the first word's is the last.
    backward = ops.flip(back(x, mask=real), axis=1)
    annotations = keras_layers.Concatenate(name="annotations")([forward, backward])  # (N, S, 2·units)
    state = keras_layers.Dense(units, activation="tanh", kernel_initializer=small_normal(), name="first_state")(
        backward[:, 0]
    )
    if attention == "luong":
        state = ops.concatenate([state, ops.zeros_like(state)], axis=-1)
    words = embedded(target, target_vocabulary, "target")  # (N, T, embedding)
    decoder = AttentionDecoder(units, attention, alignment, name="decoder")
    x, weights, _ = decoder(words, annotations, real, state)
    if attention != "luong":
        x = keras_layers.Dense(2 * maxout, kernel_initializer=small_normal(), name="deep_output")(x)
        x = Maxout(name="maxout")(x)  # (N, T, maxout)
    if drop_rate:
        x = keras_layers.Dropout(drop_rate, name="output_drop")(x)
    logits = keras_layers.Dense(target_vocabulary, kernel_initializer=small_normal(), name="words")(x)
    return keras.Model({"source": source, "target": target}, {"logits": logits, "attention": weights}, name=name)
