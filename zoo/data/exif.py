"""The EXIF orientation of a JPEG file, read in the graph from its first bytes (CIPA DC-008, sections 4.5 and 4.6)."""

import tensorflow as tf

HEAD = 1 << 17  # bytes that are looked at: Exif is among the first segments, of at most 64 KiB each
SEGMENTS = 20  # segments that are looked at
ENTRIES = 200  # entries of the directory that are looked at
ORIENTATION, SHORT = 0x0112, 3


def orientation(content: tf.Tensor) -> tf.Tensor:
    """The orientation that a JPEG file's content, a scalar string, asks for, int32 from 1 (upright) to 8.

    1 where there is none, where the header is damaged, and for files of other formats.
    """
    head = tf.strings.substr(content, 0, HEAD)
    is_jpeg = tf.strings.substr(head, 0, 3) == b"\xff\xd8\xff"
    has_exif = tf.strings.regex_full_match(head, r"\C*Exif\x00\x00\C*")  # \C is any byte; most files have no Exif
    return tf.cond(is_jpeg & has_exif, lambda: _of_jpeg(head), lambda: tf.constant(1))


def _of_jpeg(content: tf.Tensor) -> tf.Tensor:
    head = tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)
    head = tf.concat([head, [0]], axis=0)
    end = tf.size(head) - 1  # where a 0 is read for every position that is not in the file

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.gather(head, tf.where((at >= 0) & (at < end), at, end))

    def number(at: tf.Tensor, size: int, little: tf.Tensor) -> tf.Tensor:
        parts = [byte(at + i) for i in range(size)]
        value, reverse = tf.zeros_like(at), tf.zeros_like(at)
        for one, other in zip(parts, parts[::-1], strict=True):
            value, reverse = value * 256 + one, reverse * 256 + other
        return tf.where(little, reverse, value)

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        wanted = tf.constant([0xFF, 0xE1], tf.int32), tf.constant(list(b"Exif\0\0"), tf.int32)
        marker, name = byte(at + tf.range(2)), byte(at + 4 + tf.range(6))
        return tf.reduce_all(marker == wanted[0]) & tf.reduce_all(name == wanted[1])

    def goes_on(at: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        kind = byte(at + 1)  # application segments and comments may stand before Exif, and nothing else
        return (byte(at) == 0xFF) & ((kind >= 0xE0) | (kind == 0xFE)) & ~is_exif(at) & (count < SEGMENTS)

    at, _ = tf.while_loop(
        goes_on,
        lambda at, count: (at + 2 + tf.maximum(number(at + 2, 2, tf.constant(False)), 2), count + 1),
        (tf.constant(2), tf.constant(0)),
    )
    start = at + 10  # of the TIFF header, from which offsets count
    little = byte(start) == ord("I")
    directory = start + number(start + 4, 4, little)
    entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2, little), ENTRIES))
    fits = (number(entries, 2, little) == ORIENTATION) & (number(entries + 2, 2, little) == SHORT)
    values = tf.boolean_mask(number(entries + 8, 2, little), fits)
    value = tf.concat([values, [1]], axis=0)[0]
    known = is_exif(at) & (byte(start) == byte(start + 1)) & (value >= 1) & (value <= 8)
    return tf.where(known, value, 1)


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
