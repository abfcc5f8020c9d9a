"""Vocabularies of characters and words: from text to numbers and back, in Python and in the graph."""

import atexit
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

UNKNOWN = 0  # the number of every character that is not in the vocabulary
UNKNOWN_WORD = 1  # that of every word


def _file_of_lines(name: str, lines: Iterable[Any]) -> str:
    """A file for a lookup table to read, which lies there until the process ends: an export copies it as its asset."""
    folder = tempfile.mkdtemp(prefix="zoo-vocabulary-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, name)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


class Composition:
    """Letters with marks that a client may send in two characters ("u" and a diaeresis) made one ("ü").

    TensorFlow has no Unicode normalisation; this does it for the given characters, and leaves the rest alone.
    """

    def __init__(self, characters: Iterable[str]):
        apart = {c: unicodedata.normalize("NFD", c) for c in sorted(set(characters))}
        self.pairs = [(two, one) for one, two in apart.items() if two != one]

    def __call__(self, text: tf.Tensor) -> tf.Tensor:
        """UTF-8 strings of any shape → the same, composed."""
        for two, one in self.pairs:
            text = tf.strings.regex_replace(text, two, one)
        return text


class Characters(tf.Module):
    """Characters numbered from 1 in the order of their code points; everything else is `UNKNOWN`.

    In the graph it is a table over a text file, one code point a line, which an export carries as an asset.
    """

    def __init__(self, characters: Iterable[str]):
        super().__init__()
        self.characters = tuple(sorted(set(characters)))
        self.numbers = {character: number for number, character in enumerate(self.characters, start=1)}
        # Line 0 is the unknown character's; U+FFFD is what Unicode writes for it.
        points = [0xFFFD, *map(ord, self.characters)]
        file = _file_of_lines("code_points.txt", points)
        line = tf.lookup.TextFileIndex.LINE_NUMBER
        initializer = tf.lookup.TextFileInitializer(file, tf.int64, 0, tf.int64, line, vocab_size=len(points))
        self.table = tf.lookup.StaticHashTable(initializer, UNKNOWN)
        self.points = tf.constant(points, tf.int32)
        self.composed = Composition(self.characters)

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """UTF-8 strings (N,) → numbers, int32 (N, any). Invalid bytes are unknown characters."""
        points = tf.strings.unicode_decode(self.composed(text), "UTF-8", errors="replace")
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, tf.cast(points, tf.int64)), tf.int32)

    def decode(self, numbers: tf.RaggedTensor) -> tf.Tensor:
        """Numbers, int32 (N, any) → UTF-8 strings (N,)."""
        return tf.strings.unicode_encode(tf.gather(self.points, numbers), "UTF-8")


class Words(tf.Module):
    """Words numbered from 2, after the `marks`: 0 is padding, 1 every word that is not in the vocabulary.

    Those that occur at least `least` times in `counts`, the commonest first. An export carries them as an asset, a
    word a line.
    """

    def __init__(self, counts: Mapping[str, int], least: int = 1, marks: Sequence[str] = ()):
        super().__init__()
        common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        self.words = tuple(word for word, count in common if count >= least)
        # No token holds a tab, so the first lines are no word's.
        lines = [f"<{mark}>\t" for mark in ("padding", "unknown", *marks)] + list(self.words)
        self.numbers = {word: number for number, word in enumerate(lines)}
        file = _file_of_lines("words.txt", lines)
        word, number = (tf.string, tf.lookup.TextFileIndex.WHOLE_LINE), (tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        self.table = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(file, *word, *number), 1)
        self.inverse = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(file, *number, *word), "")

    def __len__(self) -> int:
        return len(self.numbers)

    def encode(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Strings of any shape → their numbers, int32."""
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, words), tf.int32)

    def decode(self, numbers: tf.Tensor) -> tf.Tensor:
        """Numbers of any shape → their words."""
        return self.inverse.lookup(tf.cast(numbers, tf.int64))


class WordsAndCharacters(tf.Module):
    """From tokens to the numbers of words and of their characters, in the graph.

    `counts` says how often training has each word; those below `least_count` are unknown.
    """

    def __init__(self, counts: Mapping[str, int], least_count: int):
        super().__init__()
        self.words = Words(counts, least_count)
        self.characters = Characters("".join(counts))
        self.counts = [1, 1, *(counts[word] for word in self.words.words)]

    def sizes(self) -> dict[str, int]:
        """The arguments that a net takes from here."""
        return {"word_vocabulary": len(self.words), "character_vocabulary": len(self.characters) + 1}

    def __call__(self, tokens: tf.RaggedTensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """Strings (N, any) → words int32 (N, any) and characters int32 (N, any, any), which count from 1."""
        tokens = tokens.with_flat_values(self.characters.composed(tokens.flat_values))
        # 0 is padding here, so an unknown character is 1 and the rest follow.
        spelled = self.characters.encode(tokens.flat_values) + 1
        return self.words.encode(tokens), tokens.with_flat_values(spelled)

    def padded(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """Strings (N, any) → "words" (N, T + 1) and "characters" (N, T + 1, C + 1), padded with 0: one place more than
        there are, so that there is something to run over where no row has a token."""
        words, characters = self(tokens)
        return {
            "words": tf.pad(words.to_tensor(0), [[0, 0], [0, 1]]),
            "characters": tf.pad(characters.to_tensor(0), [[0, 0], [0, 1], [0, 1]]),
        }

    def with_unknown(self, words: tf.Tensor, dropout: float, seed: tf.Tensor) -> tf.Tensor:
        """Words of which each that training has n times is taken for unknown with the chance a/(a + n), `dropout` being
        a (Kiperwasser & Goldberg 2016, section 4)."""
        if not dropout:
            return words
        chance = dropout / (dropout + tf.gather(tf.constant(self.counts, tf.float32), words))
        draws = tf.random.stateless_uniform(tf.shape(words), seed)
        return tf.where((draws < chance) & (words > 0), UNKNOWN_WORD, words)
