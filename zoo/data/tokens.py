"""Splitting texts into tokens and joining them, in the graph, so that training and serving are the same."""

from typing import Literal

import tensorflow as tf

from zoo.data.unicode import normalize

# Letters, marks and digits, with apostrophes and hyphens inside; or one sign of any other kind.
WORD = r"([\p{L}\p{M}\p{N}]+(?:['’\-][\p{L}\p{M}\p{N}]+)*|[^\s\p{Z}\p{L}\p{M}\p{N}])"


class Tokenizer:
    """UTF-8 texts to tokens, words and symbols or single characters, and back."""

    def __init__(self, unit: Literal["words", "characters"], lower_case: bool):
        self.unit, self.lower_case = unit, lower_case

    def split(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Strings (N,) → tokens (N, any), in NFC. Bytes that are not UTF-8 become U+FFFD."""
        texts = normalize(tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace"))
        if self.lower_case:
            texts = tf.strings.lower(texts, encoding="utf-8")
        if self.unit == "characters":
            return tf.strings.unicode_split(texts, "UTF-8")
        texts = tf.strings.regex_replace(texts, r"[\p{Z}\p{C}]", " ")  # every kind of space, and control characters
        return tf.strings.split(tf.strings.regex_replace(texts, WORD, r" \1 "))

    def join(self, tokens: tf.RaggedTensor) -> tf.Tensor:
        """Tokens (N, any) → strings (N,), without spaces before punctuation and inside brackets."""
        if self.unit == "characters":
            return tf.strings.reduce_join(tokens, axis=-1)
        texts = tf.strings.reduce_join(tokens, axis=-1, separator=" ")
        texts = tf.strings.regex_replace(texts, r" ([.,;:!?%)\]])", r"\1")
        return tf.strings.regex_replace(texts, r"([(\[]) ", r"\1")
