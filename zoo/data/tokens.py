"""Texts cut into tokens and joined again, in the graph, so that training and serving cannot differ."""

from collections.abc import Iterable
from typing import Literal

import tensorflow as tf

from zoo.data.vocabulary import Composition

# Letters, marks and digits, with apostrophes and hyphens inside; or one sign of any other kind.
WORD = r"([\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*|[^\s\p{Z}\p{L}\p{M}\p{N}])"


class Tokenizer:
    """UTF-8 texts to tokens, words and signs or single characters, and back.

    `characters` are those of the training texts: their letters with marks are one character however they were sent.
    """

    def __init__(self, unit: Literal["words", "characters"], lower_case: bool, characters: Iterable[str]):
        self.unit, self.lower_case = unit, lower_case
        self.composed = Composition(characters)

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings (N,) → tokens (N, any). Bytes that are no UTF-8 become U+FFFD."""
        texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
        texts = self.composed(texts)
        if self.lower_case:
            texts = tf.strings.lower(texts, encoding="utf-8")
        if self.unit == "characters":
            return tf.strings.unicode_split(texts, "UTF-8")
        texts = tf.strings.regex_replace(texts, r"[\p{Z}\p{C}]", " ")  # every kind of space, and what cannot be seen
        return tf.strings.split(tf.strings.regex_replace(texts, WORD, r" \1 "))

    def join(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Tokens (N, any) → strings (N,), with spaces where one writes them."""
        if self.unit == "characters":
            return tf.strings.reduce_join(tokens, axis=-1)
        texts = tf.strings.reduce_join(tokens, axis=-1, separator=" ")
        texts = tf.strings.regex_replace(texts, r" ([.,;:!?%)\]])", r"\1")
        return tf.strings.regex_replace(texts, r"([(\[]) ", r"\1")
