"""Vocabularies of characters: from text to numbers and back, in Python and in the graph."""

import atexit
import shutil
import tempfile
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

UNKNOWN = 0  # the number of every character that is not in the vocabulary


def _file_of_lines(name: str, lines: Iterable[Any]) -> str:
    """A file for a lookup table to read, which lies there until the process ends: an export copies it as its asset."""
    folder = tempfile.mkdtemp(prefix="zoo-vocabulary-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder, name)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


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
        # What a client may send in two characters, and the vocabulary has as one: "u" and a diaeresis for "ü".
        self.compositions = [
            (unicodedata.normalize("NFD", c), c) for c in self.characters if unicodedata.normalize("NFD", c) != c
        ]

    def __len__(self) -> int:
        return len(self.characters) + 1

    def composed(self, text: tf.Tensor) -> tf.Tensor:
        """UTF-8 strings with the vocabulary's own letters in one character each, where they came in two."""
        for apart, composed in self.compositions:
            text = tf.strings.regex_replace(text, apart, composed)
        return text

    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """UTF-8 strings (N,) → numbers, int32 (N, any). Invalid bytes are unknown characters."""
        points = tf.strings.unicode_decode(self.composed(text), "UTF-8", errors="replace")
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, tf.cast(points, tf.int64)), tf.int32)

    def decode(self, numbers: tf.RaggedTensor) -> tf.Tensor:
        """Numbers, int32 (N, any) → UTF-8 strings (N,)."""
        return tf.strings.unicode_encode(tf.gather(self.points, numbers), "UTF-8")


class Words(tf.Module):
    """Words numbered from 2: 0 is padding, 1 every word that is not in the vocabulary.

    Those that occur at least `least` times in `counts`, the commonest first. An export carries them as an asset, a
    word a line.
    """

    def __init__(self, counts: Mapping[str, int], least: int = 1):
        super().__init__()
        common = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        self.words = tuple(word for word, count in common if count >= least)
        self.numbers = {word: number for number, word in enumerate(self.words, start=2)}
        # No token holds a tab, so the first two lines are no word's.
        file = _file_of_lines("words.txt", ["<padding>\t", "<unknown>\t", *self.words])
        initializer = tf.lookup.TextFileInitializer(
            file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
        )
        self.table = tf.lookup.StaticHashTable(initializer, 1)

    def __len__(self) -> int:
        return len(self.words) + 2

    def encode(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        """Strings of any shape → their numbers, int32."""
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, words), tf.int32)
