"""The signatures of a translator's export."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from zoo.data.tokens import Tokenizer
from zoo.data.vocabulary import Words
from zoo.tasks.decoding import END, PADDING, UNKNOWN_TOKEN, Search
from zoo.tasks.translation.recipe import TranslationRecipe

MAX_TOKENS = 500  # of a translation


class ServingTranslator(tf.Module):
    """A translator with its vocabularies and its search, to be saved with these signatures:

    * `serving_default`: `text` string (N,) → `translation` string (N,), `score` float32 (N,), its log-probability
      divided by its length to the power `length_normalisation`, and `attention` float32 (N, T_out, T_in) between its
      `tokens` string (N, T_out) and those of the text, `source_tokens` string (N, T_in); both end with "<end>" and are
      padded with "" and 0. Greedy search;
    * `beam`: the same with beam search of the recipe's `beam_width`.

    An unknown token is replaced by the token of the text with the most attention; a model without attention generates
    none. A row's answer does not depend on other rows. Texts without tokens have an empty translation and the score 0.
    A translation has at most 2·T_in + 10 tokens, and at most `MAX_TOKENS`.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        source_words: Words,
        target_words: Words,
        recipe: TranslationRecipe,
    ):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # saved with the export, in the model's order
        self.source_words, self.target_words = source_words, target_words
        search = Search(model, recipe.length_normalisation)
        attend = keras.Model(model.input, model.output["attention"])

        def translate(text: tf.Tensor, width: int) -> dict[str, tf.Tensor]:
            tokens = tokenizer.split(text)
            lengths = tf.cast(tokens.row_lengths(), tf.int32)
            width_in = tf.reduce_max(tf.concat([lengths, [0]], 0)) + 1  # also without any text
            source = with_end(source_words.encode(tokens)).to_tensor(PADDING, shape=tf.stack([-1, width_in]))
            limits = tf.where(lengths > 0, tf.minimum(2 * lengths + 10, MAX_TOKENS), 0)
            output, score = search(source, limits, width)
            before = tf.pad(output[:, :-1], [[0, 0], [1, 0]], constant_values=END)
            attention = tf.cast(attend({"source": source, "target": before}, training=False), tf.float32)
            attention = tf.where((output != PADDING)[..., None], attention, 0.0)
            names = tf.concat([tokens, tf.fill([tokens.nrows(), 1], "<end>")], axis=1)
            names = names.to_tensor("", shape=tf.stack([-1, width_in]))
            inside = (source != END) & (source != PADDING)
            copied = tf.gather(names, tf.argmax(tf.where(inside[:, None], attention, -1.0), axis=-1), batch_dims=1)
            words = tf.where(output == UNKNOWN_TOKEN, copied, target_words.decode(output))
            words = tf.where(output == PADDING, "", tf.where(output == END, "<end>", words))
            words_only = (output != PADDING) & (output != END)
            translation = tokenizer.join(tf.ragged.boolean_mask(words, words_only))
            return {
                "translation": translation,
                "attention": attention,
                "score": score,
                "tokens": words,
                "source_tokens": names,
            }

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def serving_default(text):
            return translate(text, 1)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def beam(text):
            return translate(text, recipe.beam_width)

        self.endpoints = {"serving_default": serving_default, "beam": beam}


def with_end(ids: tf.RaggedTensor) -> tf.RaggedTensor:
    """The rows with `END` appended to each."""
    return tf.concat([ids, tf.fill([ids.nrows(), 1], END)], axis=1)


def attention_of(answer: Mapping[str, tf.Tensor]) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """The tokens of each text, those of its translation, and the attention between them, without the padding."""
    for source, target, attention in zip(
        answer["source_tokens"].numpy(), answer["tokens"].numpy(), answer["attention"].numpy(), strict=True
    ):
        source, target = ([token.decode() for token in side if token] for side in (source, target))
        yield source, target, attention[: len(target), : len(source)]
