"""The signature of a tagger's export."""

import keras
import tensorflow as tf

from zoo.data.vocabulary import WordsAndCharacters


class ServingTagger(tf.Module):
    """A tagger with its vocabularies, to be saved with this signature:

    * `serving_default`: `text` string (N,), tokens separated by spaces → `tokens` string (N, T), `tags` string (N, T)
      and `probabilities` float32 (N, T) of the tags; shorter rows are padded with "", "" and 0.
    """

    def __init__(self, model: keras.Model, encoder: WordsAndCharacters, tags: tuple[str, ...]):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # saved with the export, in the model's order
        self.encoder = encoder

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            # Bytes that are not UTF-8 become U+FFFD, so that the answer is valid text.
            text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
            tokens = tf.strings.split(text, " ")
            tokens = tf.ragged.boolean_mask(tokens, tokens != "")
            inputs = encoder.padded(tokens)
            probabilities = tf.nn.softmax(tf.cast(model(inputs, training=False), tf.float32))[:, :-1]
            best = tf.argmax(probabilities, axis=-1)
            mask = inputs["words"][:, :-1] > 0
            return {
                "tokens": tokens.to_tensor(""),
                "tags": tf.where(mask, tf.gather(tf.constant(tags), best), ""),
                "probabilities": tf.where(mask, tf.reduce_max(probabilities, axis=-1), 0.0),
            }

        self.endpoints = {"serving_default": serving_default}
