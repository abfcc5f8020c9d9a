"""The signature of a text classifier's export, and how it reads texts."""

import keras
import tensorflow as tf

from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import WordsAndCharacters

MAX_CHARACTERS = 24  # of a word


def read_words(tokenizer: Tokenizer, texts: tf.Tensor, max_length: int) -> tf.RaggedTensor:
    """The first words of texts (N,), (N, any), and the first characters of each."""
    tokens = tokenizer.split(texts)[:, :max_length]
    return tokens.with_flat_values(tf.strings.substr(tokens.flat_values, 0, MAX_CHARACTERS, unit="UTF8_CHAR"))


class ServingTextClassifier(tf.Module):
    """A classifier of texts with its vocabularies, to be saved with this signature:

    * `serving_default`: `text` string (N,) → `classes` int64 (N,), `labels` string (N,), `probabilities` float32
      (N, K). A text without words is read as one unknown character.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        encoder: WordsAndCharacters,
        classes: tuple[str, ...],
        max_length: int,
    ):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # saved with the export, in the model's order
        self.encoder = encoder

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            tokens = read_words(
                tokenizer, tf.where(tokenizer.split(text).row_lengths() > 0, text, "\ufffd"), max_length
            )
            probabilities = tf.nn.softmax(tf.cast(model(encoder.padded(tokens), training=False), tf.float32))
            best = tf.argmax(probabilities, axis=-1)
            return {"classes": best, "labels": tf.gather(tf.constant(classes), best), "probabilities": probabilities}

        self.endpoints = {"serving_default": serving_default}
