"""Vocabularies of characters and words: from text to ids and back, in Python and in the graph."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import tensorflow as tf

from zoo.data.unicode import normalize
from zoo.paths import temporary_folder

UNKNOWN = 0  # the id of every character that is not in the vocabulary
UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"  # what Unicode has for it
UNKNOWN_WORD = 1  # the id of every word that is not in the vocabulary


def _file_of_lines(name: str, lines: Iterable[Any]) -> str:
    """A file for a lookup table to read, which is deleted when the process ends: an export copies it as its asset."""
    path = temporary_folder("zoo-vocabulary-") / name
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


class Characters(tf.Module):
    """Characters with ids from 1 in the order of their code points; everything else, and U+FFFD, is `UNKNOWN`.

    In the graph it is a table over a text file, one code point a line, which an export carries as an asset.
    """

    def __init__(self, characters: Iterable[str]):
        super().__init__()
        self.characters = tuple(sorted(set(characters) - {UNKNOWN_CHARACTER}))
        self.ids = {character: i for i, character in enumerate(self.characters, start=1)}
        points = [*map(ord, (UNKNOWN_CHARACTER, *self.characters))]
        file = _file_of_lines("code_points.txt", points)
        line = tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(file, tf.int64, 0, tf.int64, line, vocab_size=len(points))
        self.table = tf.lookup.StaticHashTable(initializer, UNKNOWN)
        self.points = tf.constant(points, tf.int32)

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """UTF-8 strings (N,) → ids, int32 (N, any). Invalid bytes are unknown characters."""
        points = tf.strings.unicode_decode(normalize(text), "UTF-8", errors="replace")
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, tf.cast(points, tf.int64)), tf.int32)

    def decode(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Ids, int32 (N, any) → UTF-8 strings (N,)."""
        return tf.strings.unicode_encode(tf.gather(self.points, ids), "UTF-8")


class Words(tf.Module):
    """Words with ids from 2, after the `marks`: 0 is padding, 1 every word that is not in the vocabulary.

    First those in `first`, in their order, then those that occur at least `min_count` times in `counts`, the most
    frequent first. An export carries them as an asset, a word a line.
    """

    def __init__(
        self, counts: Mapping[str, int], min_count: int = 1, marks: Sequence[str] = (), first: Sequence[str] = ()
    ):
        super().__init__()
        common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        self.words = tuple(dict.fromkeys([*first, *(word for word, count in common if count >= min_count)]))
        # No token holds a tab, so the first lines are never words.
        lines = [f"<{mark}>\t" for mark in ("padding", "unknown", *marks)] + list(self.words)
        self.ids = {word: i for i, word in enumerate(lines)}
        file = _file_of_lines("words.txt", lines)
        word, line = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE), (tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(file, *word, *line), UNKNOWN_WORD)
        self.inverse = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(file, *line, *word), "")

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Strings of any shape → their ids, int32."""
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, words), tf.int32)

    def decode(self, ids: tf.Tensor) -> tf.Tensor:
        """Ids of any shape → their words."""
        return self.inverse.lookup(tf.cast(ids, tf.int64))


class WordsAndCharacters(tf.Module):
    """Converts tokens to the ids of words and of their characters, in the graph.

    `counts` says how often each word occurs in training; those with fewer than `min_count` are unknown, except the
    words in `first`. `characters` are known besides those of the words.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        min_count: int,
        characters: Iterable[str] = (),
        first: Sequence[str] = (),
    ):
        super().__init__()
        self.words = Words(counts, min_count, first=first)
        self.characters = Characters(chain("".join(counts), "".join(first), characters))
        self.counts = [1, 1, *(max(counts.get(word, 0), min_count) for word in self.words.words)]

    def sizes(self) -> dict[str, int]:
        """The arguments of a model's builder that depend on the vocabularies."""
        return {"word_vocabulary": len(self.words), "character_vocabulary": len(self.characters) + 1}

    def __call__(self, tokens: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Strings (N, any) → words int32 (N, any) and characters int32 (N, any, any), which count from 1."""
        tokens = tokens.with_flat_values(normalize(tokens.flat_values))
        # 0 is padding here, so an unknown character is 1 and the rest follow.
        spelled = self.characters.encode(tokens.flat_values) + 1
        return self.words.encode(tokens), tokens.with_flat_values(spelled)

    def padded(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Strings (N, any) → "words" (N, T + 1) and "characters" (N, T + 1, C + 1), padded with 0: one position more
        than the longest, so that there is one where no row has a token."""
        words, characters = self(tokens)
        return {
            "words": tf.pad(words.to_tensor(0), [[0, 0], [0, 1]]),
            "characters": tf.pad(characters.to_tensor(0), [[0, 0], [0, 1], [0, 1]]),
        }

    def with_unknown(self, words: tf.Tensor, dropout: float, seed: tf.Tensor) -> tf.Tensor:
        """Words, of which one with n occurrences in training becomes unknown with probability a/(a + n), where a is
        `dropout` (Kiperwasser & Goldberg 2016, section 4)."""
        if not dropout:
            return words
        probability = dropout / (dropout + tf.gather(tf.constant(self.counts, tf.float32), words))
        drawn = tf.random.stateless_uniform(tf.shape(words), seed)
        return tf.where((drawn < probability) & (words > 0), UNKNOWN_WORD, words)
