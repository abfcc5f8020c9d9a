"""Vocabularies of characters: from text to numbers and back, in Python and in the graph."""

import tempfile
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

UNKNOWN = 0  # the number of every character that is not in the vocabulary


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
        self._folder = tempfile.TemporaryDirectory(prefix="zoo-vocabulary-")  # until an export has copied the file
        file = Path(self._folder.name) / "code_points.txt"
        file.write_text("".join(f"{point}\n" for point in points), encoding="ascii")
        initializer = tf.lookup.TextFileInitializer(
            str(file), tf.int64, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, vocab_size=len(points)
        )
        self.table = tf.lookup.StaticHashTable(initializer, UNKNOWN)
        self.points = tf.constant(points, tf.int32)
        # What a client may send in two characters, and the vocabulary has as one: "u" and a diaeresis for "ü".
        self.compositions = [
            (unicodedata.normalize("NFD", c), c) for c in self.characters if unicodedata.normalize("NFD", c) != c
        ]

    def __len__(self) -> int:
        return len(self.characters) + 1

    def encode(self, text: tf.Tensor) -> tf.RaggedTensor:
        """UTF-8 strings (N,) → numbers, int32 (N, any). Invalid bytes are unknown characters."""
        for apart, composed in self.compositions:
            text = tf.strings.regex_replace(text, apart, composed)
        points = tf.strings.unicode_decode(text, "UTF-8", errors="replace")
        return tf.cast(tf.ragged.map_flat_values(self.table.lookup, tf.cast(points, tf.int64)), tf.int32)

    def decode(self, numbers: tf.RaggedTensor) -> tf.Tensor:
        """Numbers, int32 (N, any) → UTF-8 strings (N,)."""
        return tf.strings.unicode_encode(tf.gather(self.points, numbers), "UTF-8")
