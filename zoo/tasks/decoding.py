"""Generation in the graph: sampling from a language model, beam search with an encoder-decoder."""

import keras
import numpy as np
import tensorflow as tf

from zoo.data.vocabulary import UNKNOWN, Characters

RANDOM_NUMBERS = 256  # generated at a time for each row
UNROLLED = 8  # characters of each row per iteration of the loop, as an iteration costs as much as several operations
PADDING, UNKNOWN_TOKEN, END = 0, 1, 2  # ids of an encoder-decoder's vocabulary


def zero_state(model: keras.Model, rows: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The state before the first token, zeros for a number of rows."""
    return {
        name: tf.zeros(tf.stack([rows, tensor.shape[1]]), tensor.dtype)
        for name, tensor in model.input.items()
        if name != "tokens"
    }


def single_step(model: keras.Model) -> keras.Model:
    """The same model with shared weights for one token at a time: no loop and no time axis.

    Tokens int32 (N,) and states → logits (N, V) and states.
    """
    inputs = {
        name: keras.Input(() if name == "tokens" else tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in model.input.items()
    }
    return keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: SingleStep(layer) if isinstance(layer, keras.layers.RNN) else layer,
    )


class SingleStep(keras.layers.Layer):
    """One step of a recurrent layer: (N, D) and the previous state → (N, units) and the next state."""

    def __init__(self, recurrent: keras.layers.RNN):
        super().__init__(name=recurrent.name, dtype=recurrent.dtype_policy)
        self.cell = recurrent.cell

    def call(self, x, initial_state):
        output, states = self.cell(x, initial_state)
        return output, *states


def sample(
    step: keras.Model,
    vocabulary: Characters,
    prompt: tf.Tensor,
    length: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The text that follows each prompt, strings (N,): sampling in a loop, one character of every row at a time.

    `step` is a model of `single_step`; the other arguments are those of `ServingLanguageModel`.
    """
    prompts = vocabulary.encode(prompt)
    prompt_lengths = tf.cast(prompts.row_lengths(), tf.int32)
    rows = tf.size(prompt_lengths)
    ends = prompt_lengths + length
    total = tf.reduce_max(tf.concat([ends, [1]], 0))
    total += -total % UNROLLED  # whole iterations
    # At temperature 0 all scores but the greatest get weight 0, and the random number 0 selects the first of those.
    sharpness = tf.minimum(1 / temperature, tf.float32.max)[:, None]
    never = tf.one_hot(UNKNOWN, len(vocabulary), on_value=-np.inf, off_value=0.0)
    # Cumulative sums as a matrix product: TensorFlow's cumsum takes longer than the model.
    triangle = tf.linalg.band_part(tf.ones((len(vocabulary), len(vocabulary))), 0, -1)

    def random_block(number: tf.Tensor) -> tf.Tensor:
        """`RANDOM_NUMBERS` numbers from 0 to 1 for each row from its own seed, independent of the other rows."""
        return tf.map_fn(
            lambda own: tf.random.stateless_uniform([RANDOM_NUMBERS], tf.stack([own, number])),
            seed,
            fn_output_signature=tf.TensorSpec([RANDOM_NUMBERS], tf.float32),
        )

    blocks = tf.range((total + RANDOM_NUMBERS - 1) // RANDOM_NUMBERS)
    random = tf.map_fn(random_block, blocks, fn_output_signature=tf.TensorSpec([None, RANDOM_NUMBERS], tf.float32))
    random = tf.where(temperature > 0, tf.reshape(tf.transpose(random, (0, 2, 1)), (-1, rows)), 0.0)[..., None]
    # Read once instead of at each step.
    weights_read = [(weight, tf.identity(weight.value)) for weight in step.weights]
    given = prompts.to_tensor(UNKNOWN)
    given = tf.transpose(tf.pad(given, [[0, 0], [0, total - tf.shape(given)[1]]]))  # (steps, N)

    def advance(position, scores, written, state):
        scores += never
        weights = tf.exp((scores - tf.reduce_max(scores, axis=-1, keepdims=True)) * sharpness)
        sums = tf.matmul(weights, triangle)
        # The random number is below 1, so that one of the sums is above it.
        drawn = tf.raw_ops.UpperBound(sorted_inputs=sums, values=tf.gather(random, position) * sums[:, -1:])
        token = tf.where(position < prompt_lengths, tf.gather(given, position), tf.squeeze(drawn, 1))
        with keras.StatelessScope(weights_read):
            outputs = step({"tokens": token, **state}, training=False)
        state = {name: tf.cast(outputs[name], before.dtype) for name, before in state.items()}
        return position + 1, tf.cast(outputs["logits"], tf.float32), written.write(position, token), state

    def unrolled(*loop):
        for _ in range(UNROLLED):
            loop = advance(*loop)
        return loop

    written = tf.TensorArray(tf.int32, size=total, element_shape=(None,))
    begin = (0, tf.zeros((rows, len(vocabulary))), written, zero_state(step, rows))
    _, _, written, _ = tf.while_loop(lambda position, *_: position < total, unrolled, begin)
    tokens = tf.transpose(written.stack())  # (N, total)
    positions = tf.range(total)[None]
    wanted = (positions >= prompt_lengths[:, None]) & (positions < ends[:, None])
    return vocabulary.decode(tf.ragged.boolean_mask(tokens, wanted))


class Search:
    """Beam search in the graph, one token at a time. A width of 1 is greedy search.

    The model is an encoder-decoder with the input "source", a layer "target_embedding", the output "logits", and a
    layer "decoder": an RNN over a cell with attention, whose inputs are the embedded tokens, the annotations, their
    mask and the first state. Its methods `keys` and `step` compute what one step needs (see `zoo.layers`).
    """

    def __init__(self, model: keras.Model, length_normalisation: float):
        self.decoder = model.get_layer("decoder")
        _, annotations, mask, state = self.decoder.input
        self.encoder = keras.Model(model.input["source"], [annotations, mask, state])
        self.embedding = model.get_layer("target_embedding")
        self.head = keras.Model(self.decoder.output[0], model.output["logits"])
        self.power = length_normalisation
        size = model.output["logits"].shape[-1]
        excluded = [PADDING] if self.decoder.attends else [PADDING, UNKNOWN_TOKEN]
        self.excluded = tf.constant([-np.inf if i in excluded else 0.0 for i in range(size)])
        self.only_end = tf.constant([0.0 if i == END else -np.inf for i in range(size)])

    def __call__(self, source: tf.Tensor, limits: tf.Tensor, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The best hypothesis of each text, int32 (N, T) that ends with `END` and is padded, and its score (N,).

        `source` is int32 (N, S), `limits` int32 (N,) the maximum number of tokens of each. The search of a text ends
        when `width` hypotheses have ended among the best `width` of a step.
        """
        annotations, mask, state = self.encoder(source, training=False)
        fixed = [tf.repeat(part, width, axis=0) for part in (self.decoder.keys(annotations, mask), annotations, mask)]
        rows, total = tf.shape(source)[0], tf.reduce_max(tf.concat([limits, [1]], 0))
        positions = tf.range(total)

        def select(values, indices):
            return tf.gather(values, indices, batch_dims=1)

        def step(position, last, state, scores, texts, best_texts, best_scores, ended_count):
            output, _, state = self.decoder.step(self.embedding(tf.reshape(last, [-1])), state, *fixed)
            logits = tf.cast(self.head(output[:, None], training=False)[:, 0], tf.float32)
            log_probs = tf.nn.log_softmax(logits) + self.excluded
            size = log_probs.shape[-1]
            candidates = scores[..., None] + tf.reshape(log_probs, [rows, width, size])  # (N, width, V)
            at_limit = (position + 1 >= limits)[:, None, None]
            candidates = tf.where(at_limit, candidates + self.only_end, candidates)
            found, where = tf.math.top_k(tf.reshape(candidates, [rows, width * size]), 2 * width)
            parents, tokens = where // size, where % size
            extended = tf.where(positions == position, tokens[..., None], select(texts, parents))  # (N, 2·width, total)
            # Hypotheses among the first `width` that end here compete with those that ended before.
            over = (tokens == END) & tf.math.is_finite(found)
            over &= (tf.range(2 * width) < width) & (ended_count < width)[:, None]
            length = tf.cast(position + 1, tf.float32) ** self.power
            all_scores = tf.concat([best_scores, tf.where(over, found / length, -np.inf)], axis=1)
            best_scores, which = tf.math.top_k(all_scores, 1)
            best_texts = select(tf.concat([best_texts, extended], axis=1), which)
            ended_count += tf.reduce_sum(tf.cast(over, tf.int32), axis=1)
            # The others continue.
            scores, which = tf.math.top_k(tf.where(tokens == END, -np.inf, found), width)
            parents = select(parents, which) + tf.range(rows)[:, None] * width
            state = tf.gather(state, tf.reshape(parents, [-1]))
            return (
                position + 1,
                select(tokens, which),
                state,
                scores,
                select(extended, which),
                best_texts,
                best_scores,
                ended_count,
            )

        begin = (
            0,
            tf.fill([rows, width], END),
            tf.repeat(state, width, axis=0),
            tf.tile(tf.constant([[0.0] + [-np.inf] * (width - 1)]), [rows, 1]),
            tf.zeros([rows, width, total], tf.int32),
            tf.zeros([rows, 1, total], tf.int32),
            tf.fill([rows, 1], -np.inf),
            tf.where(limits > 0, 0, width),
        )
        *_, texts, scores, _ = tf.while_loop(
            lambda position, *rest: (position < total) & tf.reduce_any(rest[-1] < width), step, begin
        )
        texts = texts[:, 0]
        longest = tf.reduce_max(tf.concat([tf.reduce_sum(tf.cast(texts != PADDING, tf.int32), axis=1), [1]], 0))
        return texts[:, :longest], tf.where(limits > 0, scores[:, 0], 0.0)
