"""The EXIF orientation of a JPEG file, read in the graph from its segments (CIPA DC-008, sections 4.5 and 4.6)."""

import struct

import tensorflow as tf

HEAD = 1 << 17  # bytes that are searched for Exif before segments are walked
STEPS = 1000  # segments, and bytes that fill the space between them, that are looked at
ORIENTATION = 0x0112
# By type, from 0 on, how `struct` writes a number, for the types that Pillow takes the orientation from. A rational
# number is a numerator and a denominator. The last stands for all further types.
FORMATS = ["", "", "", "H", "I", "II", "b", "", "h", "i", "ii", "f", "d", "I", "", "", "Q", ""]
WIDTHS = [struct.calcsize(f"={form}") for form in FORMATS]
STORED = [  # by byte order and type, the orientations from 0 to 8
    [[struct.pack(order + form, *(value, 1)[: len(form)]) or b"none" for value in range(9)] for form in FORMATS]
    for order in "><"
]


def orientation(content: tf.Tensor) -> tf.Tensor:
    """The orientation that a JPEG file's content, a scalar string, asks for, int32 from 1 (upright) to 8.

    1 where there is none, where the header is damaged, and for files of other formats.
    """
    head = tf.strings.substr(content, 0, HEAD)
    is_jpeg = tf.strings.substr(head, 0, 3) == b"\xff\xd8\xff"
    has_exif = tf.strings.regex_full_match(head, r"\C*Exif\x00\x00\C*")  # \C is any byte; most files have no Exif
    large = tf.strings.length(content) > HEAD
    return tf.cond(is_jpeg & (has_exif | large), lambda: _of_tiff(_exif(content, has_exif)), lambda: tf.constant(1))


def _exif(content: tf.Tensor, in_head: tf.Tensor) -> tf.Tensor:
    """The Exif data of a JPEG file, a TIFF file, joined where segments of it follow each other; empty without any.

    Looked for up to the first scan; up to the first table, to save time, where Exif is not in the head of the file.
    """
    length = tf.strings.length(content)

    def step(at, count, exif, _):
        start = tf.strings.substr(content, at, 10)
        head = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=10), tf.int32)
        marker = tf.where((head[0] == 0xFF) & (head[1] < 0xFF), head[1], 0)  # 0: a byte between two segments
        size = tf.where(marker > 0, 2 + head[2] * 256 + head[3], 1)
        is_exif = (marker == 0xE1) & tf.strings.regex_full_match(start, r"\C{4}Exif\x00\x00")
        exif += tf.strings.substr(content, tf.minimum(at + 10, length), tf.where(is_exif, tf.maximum(size - 10, 0), 0))
        before_end = (marker == 0) | (marker >= 0xE0) | (in_head & (marker != 0xDA))
        goes_on = before_end & (is_exif | (marker == 0) | (exif == b""))
        return tf.minimum(at + size, length), count + 1, exif, goes_on & (at + size < length)

    before = tf.constant(2), tf.constant(0), tf.constant(b""), tf.constant(True)
    *_, exif, _ = tf.while_loop(lambda at, count, exif, goes_on: goes_on & (count < STEPS), step, before)
    return tf.strings.regex_replace(exif, r"^Exif\x00\x00", "", replace_global=False)  # some write it twice


def _of_tiff(tiff: tf.Tensor) -> tf.Tensor:
    """The orientation in the first directory of a TIFF file, a scalar string; 1 where there is none."""
    content = tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int32)
    content = tf.concat([content, [0]], axis=0)
    end = tf.size(content) - 1  # where a 0 is read for every position behind the file
    little = content[0] == ord("I")

    def number(at: tf.Tensor, size: int) -> tf.Tensor:
        places = at[..., None] + tf.range(size)
        powers = tf.constant([256**i for i in range(size)])
        parts = tf.gather(content, tf.minimum(places, end))
        return tf.reduce_sum(parts * tf.where(little, powers, powers[::-1]), axis=-1)

    directory = number(tf.constant(4), 4)
    directory = tf.where((directory >= 0) & (directory < end), directory, end)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), end // 12 + 1))
    entry = tf.reduce_min(tf.where(number(entries, 2) == ORIENTATION, entries, end))  # the first
    entry = tf.minimum(entry, end)  # also where the directory is empty
    kind = tf.minimum(number(entry + 2, 2), len(FORMATS) - 1)
    width, count = tf.gather(WIDTHS, kind), number(entry + 4, 4)
    place = tf.where(width * count > 4, number(entry + 8, 4), entry + 8)
    value = tf.strings.substr(tiff, tf.clip_by_value(place, 0, end), tf.where(count == 0, 0, width))
    stored = tf.gather_nd(STORED, [tf.cast(little, tf.int32), kind])  # (9,)
    return tf.maximum(tf.argmax(tf.cast(stored == value, tf.int32), output_type=tf.int32), 1)


def upright(pixels: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Pixels (H, W, C) turned and mirrored as an orientation asks for."""

    def turned() -> tf.Tensor:
        order = tf.where(value >= 5, [1, 0, 2], [0, 1, 2])
        top_down = tf.reduce_any(value == [3, 4, 7, 8])
        left_right = tf.reduce_any(value == [2, 3, 6, 7])
        return tf.raw_ops.Reverse(tensor=tf.transpose(pixels, order), dims=tf.stack([top_down, left_right, False]))

    out = tf.cond(value > 1, turned, lambda: pixels)
    out.set_shape((None, None, pixels.shape[2]))
    return out
