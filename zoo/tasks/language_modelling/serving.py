"""The signatures of a language model's export."""

import keras
import tensorflow as tf

from zoo.data.vocabulary import UNKNOWN, Characters
from zoo.tasks.decoding import sample, single_step, zero_state

PIECE = 500  # characters that are scored at a time


class ServingLanguageModel(tf.Module):
    """A language model with its vocabulary and its sampling loop, to be saved with these signatures:

    * `serving_default`: `prompt` string (N,), `length` int32 (N,), `temperature` float32 (N,) and `seed` int32 (N,) →
      `text` string (N,), the `length` characters that follow each prompt. At temperature 0 the likeliest character is
      taken, above it one is sampled with the seed. A prompt begins a line: where the vocabulary has a line break, the
      model reads one first, as training rarely starts from a state of zeros. Without a line break, the text after an
      empty prompt starts with a character sampled uniformly;
    * `score`: `text` string (N,) → `nats_per_char` float32 (N,), the mean over all characters but the first, 0 where
      there are none.

    A row's answer does not depend on other rows. Negative lengths and temperatures, and temperatures that are not
    finite, are errors that say so.
    """

    def __init__(self, model: keras.Model, vocabulary: Characters):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # saved with the export, in the model's order
        self.vocabulary = vocabulary
        step = single_step(model)
        opening = "\n" if "\n" in vocabulary.characters else ""
        rows = {"prompt": tf.string, "length": tf.int32, "temperature": tf.float32, "seed": tf.int32}

        @tf.function(input_signature=[tf.TensorSpec((None,), dtype, name) for name, dtype in rows.items()])
        def serving_default(prompt, length, temperature, seed):
            usable = tf.math.is_finite(temperature) & (temperature >= 0)
            checks = [
                tf.debugging.assert_non_negative(length, "length must be 0 or more"),
                tf.debugging.assert_equal(usable, True, "temperature must be 0 or more, and finite"),
            ]
            with tf.control_dependencies(checks):
                return {"text": sample(step, vocabulary, opening + prompt, length, temperature, seed)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def score(text):
            return {"nats_per_char": nats_per_char(model, vocabulary, text)}

        self.endpoints = {"serving_default": serving_default, "score": score}


def nats_per_char(model: keras.Model, vocabulary: Characters, text: tf.Tensor) -> tf.Tensor:
    """The mean cross-entropy of each text's characters but the first, (N,); 0 where there are none."""
    ids = vocabulary.encode(text)
    counts = tf.maximum(tf.cast(ids.row_lengths(), tf.int32) - 1, 0)
    tokens = tf.pad(ids.to_tensor(UNKNOWN), [[0, 0], [0, 1]])
    last = tf.shape(tokens)[1] - 1
    state = zero_state(model, tf.shape(tokens)[0])

    def add(start, state, total):
        piece = tokens[:, start : start + PIECE + 1]
        outputs = dict(model({"tokens": piece[:, :-1], **state}, training=False))
        logits = tf.cast(outputs.pop("logits"), tf.float32)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(piece[:, 1:], logits)
        mask = tf.sequence_mask(counts - start, tf.shape(losses)[1], tf.float64)
        return start + PIECE, outputs, total + tf.reduce_sum(tf.cast(losses, tf.float64) * mask, axis=1)

    # In pieces, so that the memory is that of a piece and not of the longest text.
    begin = (tf.constant(0), state, tf.zeros(tf.shape(counts), tf.float64))
    _, _, total = tf.while_loop(lambda start, *_: start < last, add, begin, parallel_iterations=1)
    return tf.cast(tf.math.divide_no_nan(total, tf.cast(counts, tf.float64)), tf.float32)
