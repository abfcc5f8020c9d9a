"""Unicode normalisation in the graph, so that an export gives the same result for every composition of a text.

TensorFlow has no such operation. NFC is computed here on code points as in Unicode Standard Annex 15 (decompose, sort
marks by their class, compose), with tables from Python's `unicodedata`, which normalises the training data.
"""

import unicodedata
from functools import cache

import numpy as np
import tensorflow as tf

FIRST, LAST = 0xC0, 0x30000  # no character outside of these decomposes or has a combining class, Hangul included
HANGUL, SYLLABLES, LEADS, VOWELS, TRAILS = 0xAC00, 11172, 0x1100, 0x1161, 0x11A7
SHIFT = 1 << 21  # above every code point


def normalize(text: tf.Tensor) -> tf.Tensor:
    """UTF-8 strings of any shape in NFC, without a byte-order mark at their start, with \\n for \\r\\n and \\r.

    `zoo.data.text_files.normalize` is the same in Python. If a text is not in NFC, its bytes that are not UTF-8 become
    U+FFFD.
    """
    text = tf.strings.regex_replace(tf.strings.regex_replace(text, "\r\n?", "\n"), "^\ufeff", "")
    return tf.reshape(_in_nfc(tf.reshape(text, [-1])), tf.shape(text))


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)  # traced once, for every caller
def _in_nfc(texts: tf.Tensor) -> tf.Tensor:
    points = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
    return tf.cond(_may_change(points.values), lambda: tf.strings.unicode_encode(nfc(points), "UTF-8"), lambda: texts)


def nfc(points: tf.RaggedTensor) -> tf.RaggedTensor:
    """Code points int32 (N, any) of texts → those of the texts in NFC."""
    values, rows = _decomposed(points.values, tf.cast(points.value_rowids(), tf.int32))
    classes = _lookup(*_tables()["classes"], values, 0)
    first = (classes == 0) | _changes(rows)  # where a segment begins: a character and the marks after it
    order = tf.argsort(tf.cumsum(tf.cast(first, tf.int32)) * 256 + classes, stable=True)
    values, classes = tf.gather(values, order), tf.gather(classes, order)
    any_size = tf.TensorShape([None])
    values, _, rows, _, _ = tf.while_loop(
        lambda values, classes, rows, first, going: going,
        _compose_once,
        (values, classes, rows, first, tf.size(values) > 0),
        shape_invariants=(any_size, any_size, any_size, any_size, tf.TensorShape([])),
    )
    return tf.RaggedTensor.from_value_rowids(values, rows, tf.cast(points.nrows(), rows.dtype), validate=False)


@cache
def _tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Sorted keys with values: decompositions (up to 4 points), classes of marks, compositions, what may change."""
    decompositions, classes, pairs, changing = {}, {}, {}, set()
    for point in range(FIRST, LAST):
        if 0xD800 <= point < 0xE000 or HANGUL <= point < HANGUL + SYLLABLES:
            continue
        character = chr(point)
        apart = unicodedata.normalize("NFD", character)
        if combining := unicodedata.combining(character):
            classes[point] = combining
        if apart != character:
            decompositions[point] = [*map(ord, apart), -1, -1, -1][:4]
            parts = unicodedata.decomposition(character).split()
            if unicodedata.normalize("NFC", character) != character:
                changing.add(point)
            elif len(parts) == 2:
                one, other = (int(part, 16) for part in parts)
                pairs[one * SHIFT + other] = point
    changing |= classes.keys() | {key % SHIFT for key in pairs}
    changing |= {*range(VOWELS, VOWELS + 21), *range(TRAILS + 1, TRAILS + 28)}
    return {
        "decompositions": _sorted(decompositions, np.int32),
        "classes": _sorted(classes, np.int32),
        "pairs": _sorted(pairs, np.int64),
        "changing": _sorted(dict.fromkeys(changing, 1), np.int32),
    }


def _sorted(table: dict, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    keys = sorted(table)
    return np.array(keys, dtype), np.array([table[key] for key in keys], np.int32)


def _lookup(keys: np.ndarray, values: np.ndarray, wanted: tf.Tensor, default) -> tf.Tensor:
    """The value of each wanted key, or the default."""
    index = tf.minimum(tf.searchsorted(tf.constant(keys), wanted), len(keys) - 1)
    found = tf.gather(tf.constant(keys), index) == wanted
    values = tf.gather(tf.constant(values), index)
    return tf.where(found if values.shape.rank == 1 else found[:, None], values, default)


def _may_change(values: tf.Tensor) -> tf.Tensor:
    """Whether a character is among these that NFC may change, alone or with those before it."""
    return tf.cond(
        tf.reduce_any(values >= 0x300),
        lambda: tf.reduce_any(_lookup(*_tables()["changing"], values, 0) > 0),
        lambda: tf.constant(False),
    )


def _changes(rows: tf.Tensor) -> tf.Tensor:
    """Where a row begins."""
    return tf.concat([tf.ones_like(rows[:1], tf.bool), rows[1:] != rows[:-1]], axis=0)


def _decomposed(values: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The points fully decomposed, and the row of each."""
    absent = tf.fill([tf.size(values), 3], -1)
    apart = _lookup(*_tables()["decompositions"], values, tf.concat([values[:, None], absent], axis=1))
    syllable = values - HANGUL
    trail = syllable % 28
    jamo = [LEADS + syllable // 588, VOWELS + syllable % 588 // 28, tf.where(trail > 0, TRAILS + trail, -1)]
    jamo = tf.stack([*jamo, tf.fill([tf.size(values)], -1)], axis=1)
    apart = tf.where(((syllable >= 0) & (syllable < SYLLABLES))[:, None], jamo, apart)
    return tf.boolean_mask(apart, apart >= 0), tf.boolean_mask(tf.repeat(rows[:, None], 4, axis=1), apart >= 0)


def _composed(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """The character that two compose to, or -1."""
    keys = tf.cast(one, tf.int64) * SHIFT + tf.cast(other, tf.int64)
    both = _lookup(*_tables()["pairs"], keys, -1)
    lead, vowel, syllable, trail = one - LEADS, other - VOWELS, one - HANGUL, other - TRAILS
    is_lv = (lead >= 0) & (lead < 19) & (vowel >= 0) & (vowel < 21)
    is_lvt = (syllable >= 0) & (syllable < SYLLABLES) & (syllable % 28 == 0) & (trail > 0) & (trail < 28)
    return tf.where(is_lv, HANGUL + (lead * 21 + vowel) * 28, tf.where(is_lvt, one + trail, both))


def _compose_once(values, classes, rows, first, going):
    """One character of each segment composed with the segment's first, or the first with the character before it."""
    positions, begins = tf.range(tf.size(values)), _changes(rows)
    segment = tf.cumsum(tf.cast(first, tf.int32)) - 1
    leader = tf.gather(tf.boolean_mask(positions, first), segment)
    before = tf.maximum(positions - 1, 0)
    # A character that begins a segment joins the one before it, if that is one without marks.
    into_before = _composed(tf.gather(values, before), values)
    joins = first & ~begins & (into_before >= 0) & (classes == 0)
    joins &= tf.gather(first, before) & (tf.gather(classes, before) == 0)
    joins &= ~tf.gather(joins, before) | (positions == 0)
    # A mark composes with the first of its segment, unless a mark of the same class is between them.
    into_leader = _composed(tf.gather(values, leader), values)
    blocked = (before != leader) & (tf.gather(classes, before) >= classes)
    marks = ~first & (into_leader >= 0) & ~blocked & (tf.gather(classes, leader) == 0) & ~tf.gather(joins, leader)
    count = tf.size(values)
    earliest = tf.math.unsorted_segment_min(tf.where(marks, positions, count), segment, tf.reduce_max(segment) + 1)
    marks &= positions == tf.gather(earliest, segment)
    merged = tf.where(marks | joins)
    into = tf.where(marks, leader, before)
    values = tf.tensor_scatter_nd_update(
        values,
        tf.gather_nd(into, merged)[:, None],
        tf.gather_nd(tf.where(marks, into_leader, into_before), merged),
    )
    stays = ~(marks | joins)
    kept = (tf.boolean_mask(part, stays) for part in (values, classes, rows, first))
    return *kept, tf.size(merged) > 0
