"""Image files to pixels: upright, without transparency, of bounded size; in the graph and from any file in Python.

PNG and JPEG files are decoded by the same operations in training, scoring, prediction and exports. The graph reads some
GIF and BMP files, too; in Python, Pillow reads those and WebP and TIFF.
"""

import contextlib
import io
import os
import zlib

import numpy as np
import tensorflow as tf

from zoo.data.exif import orientation, upright
from zoo.data.paths import display_path
from zoo.errors import ZooError, reason

# The suffix decides which files of a folder are read; the content alone decides how one is decoded.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
MAX_PIXELS = 1 << 27  # of one image: 400 MB once decoded
# Of PNG with the beginning of its header, which TensorFlow also finds behind other chunks: its size is read here.
PNG, JPEG, GIF, BMP = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"GIF8", b"BM"
TIFF = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT, SIGNED = 258, 262, 339, 2  # tags of TIFF files
_orientation_in_graph = tf.function(orientation, input_signature=[tf.TensorSpec((), tf.string)])  # faster than eager
TOO_LARGE = f"an image of more than {MAX_PIXELS:,} pixels; scale it down"
OTHER_FORMAT = "not a PNG, JPEG, GIF or BMP file"
SAVE_IT = "save it with 8 bits, unsigned"
UNKNOWN = "not an image that can be read, or a damaged one"
UNKNOWN_TIFF = f"a TIFF image that is damaged, or of a depth or kind that is not read; {SAVE_IT}"


def decode_image(content: tf.Tensor, channels: int) -> tf.Tensor:
    """PNG, JPEG, GIF or BMP bytes, a scalar, as uint8 pixels (any, any, channels).

    JPEG files are rotated by their EXIF orientation; transparent PNG files get a white background. Raises
    `InvalidArgumentError` for what is none of these, is damaged, or has more than `MAX_PIXELS` pixels, those of
    all frames of a GIF file together.
    """

    def starts_with(mark: bytes) -> tf.Tensor:
        return tf.strings.substr(content, 0, len(mark)) == mark

    # TensorFlow decodes more formats, whose size is not checked here.
    known = tf.reduce_any([starts_with(mark) for mark in (PNG, JPEG, GIF, BMP)])
    content = _checked(content, known, OTHER_FORMAT)
    # Always decoded as colours, because TensorFlow cannot decode a CMYK JPEG to grey. Grey pixels do not change.
    pixels = tf.cond(
        starts_with(PNG),
        lambda: _decode_png(content),
        lambda: tf.cond(
            starts_with(JPEG),
            lambda: _decode_jpeg(content),
            lambda: tf.cond(starts_with(GIF), lambda: _decode_gif(content), lambda: _decode_bmp(content)),
        ),
    )
    pixels.set_shape((None, None, 3))
    return tf.image.rgb_to_grayscale(pixels) if channels == 1 else pixels


def _checked(content: tf.Tensor, valid: tf.Tensor, fault: str) -> tf.Tensor:
    """The content, after a check that it is valid."""
    with tf.control_dependencies([tf.raw_ops.Assert(condition=valid, data=[fault])]):
        return tf.identity(content)


def _small(content: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """The content, after a check that an image of these sides is small enough."""
    return _checked(content, tf.reduce_prod(tf.cast(sides, tf.int64)) <= MAX_PIXELS, TOO_LARGE)


def _decode_png(content: tf.Tensor) -> tf.Tensor:
    sides = tf.io.decode_raw(tf.strings.substr(content, 16, 8), tf.int32, little_endian=False)
    pixels = tf.io.decode_png(_small(content, tf.bitwise.bitwise_and(sides, 2**31 - 1)), channels=4)
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    # Where a file of fewer than 8 bits has no transparency, TensorFlow fills in the greatest value of its own depth.
    bits = tf.cast(tf.io.decode_raw(tf.strings.substr(content, 24, 1), tf.uint8)[0], tf.int32)
    filler = tf.cast(tf.bitwise.left_shift(1, tf.minimum(bits, 8)) - 1, tf.uint8)
    least = tf.reduce_min(alpha)
    opaque = (least == 255) | ((least == filler) & (tf.reduce_max(alpha) == filler))

    def laid_on_white() -> tf.Tensor:
        share = tf.cast(alpha, tf.int32)
        return tf.cast((tf.cast(colour, tf.int32) * share + 255 * (255 - share) + 127) // 255, tf.uint8)

    return tf.cond(opaque, lambda: colour, laid_on_white)


def _decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    content = _small(content, tf.image.extract_jpeg_shape(content)[:2])
    return upright(tf.io.decode_jpeg(content, channels=3), orientation(content))


def _decode_gif(content: tf.Tensor) -> tf.Tensor:
    return _decode_any(_checked(content, _gif_pixels(content) <= MAX_PIXELS, TOO_LARGE))


def _gif_pixels(content: tf.Tensor) -> tf.Tensor:
    """Greatest height × greatest width × number of the frames of a GIF file, int64.

    TensorFlow decodes every frame, also for the first alone, and does not use the size in the file's header.
    """
    data = tf.pad(tf.io.decode_raw(content, tf.uint8), [[0, 1]])
    end = tf.size(data) - 1

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(data[tf.minimum(at, end)], tf.int32)  # 0 after the end

    def after_colours(flags: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
        return at + tf.where(flags < 128, 0, tf.bitwise.left_shift(6, flags & 7))

    def after_block(at: tf.Tensor, sides: tf.Tensor, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        is_frame = byte(at) == 0x2C  # otherwise an extension
        own = tf.stack([byte(at + 5) + 256 * byte(at + 6), byte(at + 7) + 256 * byte(at + 8)])
        first = tf.where(is_frame, after_colours(byte(at + 9), at + 10) + 1, at + 2)
        last, _ = tf.while_loop(
            lambda at, size: size > 0, lambda at, size: (at + size + 1, byte(at + size + 1)), (first, byte(first))
        )
        return last + 1, tf.where(is_frame, tf.maximum(sides, own), sides), frames + tf.cast(is_frame, tf.int64)

    _, sides, frames = tf.while_loop(
        lambda at, *_: (byte(at) == 0x2C) | (byte(at) == 0x21),
        after_block,
        (after_colours(byte(tf.constant(10)), tf.constant(13)), tf.zeros(2, tf.int32), tf.zeros((), tf.int64)),
    )
    return tf.reduce_prod(tf.cast(sides, tf.int64)) * frames


def _decode_bmp(content: tf.Tensor) -> tf.Tensor:
    """TensorFlow gives the indices of a BMP file of 8 bits as grey pixels; the colours are in its palette."""
    pixels = _decode_any(content)
    header = tf.io.decode_raw(tf.strings.substr(content, 14, 40), tf.int32)  # (10,)
    bits = tf.bitwise.right_shift(header[3], 16)

    def of_palette() -> tf.Tensor:
        count = tf.where(header[8] > 0, tf.minimum(header[8], 256), 256)
        palette = tf.strings.substr(content, 14 + header[0], 4 * count)
        colours = tf.reshape(tf.io.decode_raw(palette, tf.uint8), (-1, 4))[:, 2::-1]  # from blue, green, red, 0
        return tf.gather(colours, tf.cast(pixels[..., 0], tf.int32))

    return tf.cond(bits == 8, of_palette, lambda: pixels)


def _decode_any(content: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_image(content, channels=3, expand_animations=False)


def decode_file(content: bytes) -> np.ndarray:
    """An image file's content of any format that is read, as uint8 RGB pixels (H, W, 3): upright, on white.

    PNG and JPEG files give what `decode_image` gives. Raises `ZooError` that says what is wrong; it does not know the
    file's name.
    """
    jpeg = content.startswith(JPEG)
    if not jpeg and not _is_plain_png(content):
        return _pillow(content)
    try:
        _check_size(content)
        if not jpeg:
            return _lay_on_white(tf.io.decode_png(content, channels=4).numpy(), content[24])
        pixels = tf.io.decode_jpeg(content, channels=3)
        turn = _orientation(content)
        return (pixels if turn == 1 else upright(pixels, tf.constant(turn))).numpy()
    except tf.errors.OpError as error:
        raise ZooError(_fault(content)) from error


def _orientation(content: bytes) -> int:
    """The orientation that a JPEG file asks for; not searched for by TensorFlow where it cannot be."""
    return int(_orientation_in_graph(content)) if b"Exif\0\0" in content else 1


def _is_plain_png(content: bytes) -> bool:
    """Whether a PNG file has no EXIF data: neither a chunk of it, nor a text "Raw profile type exif" (ImageMagick)."""
    return content.startswith(PNG) and b"eXIf" not in content and b"exif\0" not in content


def _check_size(content: bytes) -> None:
    """Raises `ZooError` if the header of a PNG or JPEG file announces too many pixels."""
    if content.startswith(PNG):
        height, width = (int.from_bytes(content[at : at + 4], "big") for at in (20, 16))
    else:
        height, width, _ = tf.image.extract_jpeg_shape(content).numpy().tolist()
    if height * width > MAX_PIXELS:
        raise ZooError(TOO_LARGE)


def _lay_on_white(pixels: np.ndarray, depth: int = 8) -> np.ndarray:
    """RGBA pixels (H, W, 4) on a white background, as in `_decode_png`, of a file with this number of bits."""
    colour, alpha = pixels[..., :3], pixels[..., 3:].astype(np.int32)
    if (alpha == 255).all() or (alpha == min((1 << depth) - 1, 255)).all():
        return colour
    return ((colour.astype(np.int32) * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _fault(content: bytes) -> str:
    kind = "JPEG" if content.startswith(JPEG) else "PNG"
    return f"a {kind} image that is damaged or cut off"


def _pillow(content: bytes) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ZooError(TOO_LARGE)
            image.load()
            tags = getattr(image, "tag_v2", {PHOTOMETRIC: 1})  # of a TIFF file
            with contextlib.suppress(Exception):  # as in a JPEG file, damaged EXIF data asks for nothing
                image = ImageOps.exif_transpose(image)
            # Pillow looks at these tags for unsigned numbers of up to 8 bits alone.
            white_is_zero = tags.get(PHOTOMETRIC, 0) == 0
            if image.mode.startswith("I;16"):
                bits = tags.get(BITS_PER_SAMPLE, (16,))[0]
                grey = np.asarray(image) >> (bits - 8)
                return _grey((255 - grey if white_is_zero else grey).astype(np.uint8))
            if image.mode in ("I", "F"):
                return _of_numbers(np.asarray(image), white_is_zero)
            if image.mode == "L" and tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED:
                return _of_numbers(np.asarray(image).view(np.int8), white_is_zero)
            return _lay_on_white(np.asarray(image.convert("RGBA")))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ZooError(TOO_LARGE) from error
    except ZooError:
        raise
    except UnidentifiedImageError as error:
        raise ZooError(UNKNOWN_TIFF if content.startswith(TIFF) else UNKNOWN) from error
    except Exception as error:  # Pillow's plugins raise errors of many kinds for damaged files
        raise ZooError(UNKNOWN) from error


def _grey(pixels: np.ndarray) -> np.ndarray:
    """Grey pixels (H, W) as (H, W, 3)."""
    return np.repeat(pixels[..., None], 3, axis=-1)


def _of_numbers(values: np.ndarray, white_is_zero: bool) -> np.ndarray:
    """Grey pixels (H, W), signed integers or floats from 0 to 255, as uint8 (H, W, 3).

    Raises `ZooError` for another range, and where 0 is white: black and white are then not known from the file.
    """
    least, greatest = float(values.min()), float(values.max())
    to_one = values.dtype.kind == "f" and 0 < greatest <= 1
    if not 0 <= least <= greatest <= 255 or to_one:
        raise ZooError(f"an image of numbers from {least:.4g} to {greatest:.4g}, not from 0 to 255; {SAVE_IT}")
    if white_is_zero:
        raise ZooError(f"an image of signed numbers or floats where 0 is white (WhiteIsZero); {SAVE_IT}")
    return _grey(values.astype(np.uint8))


def read_image(path: str | bytes | os.PathLike, channels: int) -> np.ndarray:
    """The pixels of an image file, uint8 (H, W, channels). Raises `ZooError` that names the file and what is wrong."""
    try:
        with open(path, "rb") as file:
            pixels = decode_file(file.read())
    except OSError as error:
        raise ZooError(f"{display_path(path)} cannot be read: {reason(error)}") from error
    except ZooError as error:
        raise ZooError(f"{display_path(path)} cannot be decoded: it is {error}") from error
    return tf.image.rgb_to_grayscale(pixels).numpy() if channels == 1 else pixels


def read_content(path: bytes) -> bytes:
    """The content of an image file as `decode_image` reads it: other formats than PNG and JPEG as a PNG file.

    Without TensorFlow, because data pipelines call it on TensorFlow's own threads, which must not wait for each other.
    Raises `ZooError` that names the file if it cannot be read, is cut off, or is damaged as far as that can be told
    without decoding.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
        if content.startswith(JPEG):
            whole = _is_whole_jpeg(content)
        elif _is_plain_png(content):
            whole = _is_whole_png(content)
        else:
            return _png_of(_pillow(content))
    except OSError as error:
        raise ZooError(f"{display_path(path)} cannot be read: {reason(error)}") from error
    except ZooError as error:
        raise ZooError(f"{display_path(path)} cannot be decoded: it is {error}") from error
    if not whole:
        raise ZooError(f"{display_path(path)} cannot be decoded: it is {_fault(content)}")
    return content


def _png_of(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _is_whole_jpeg(content: bytes) -> bool:
    """Whether the segments of a JPEG file lead to its first scan, and an end of image follows."""
    at = 2
    while content[at : at + 1] == b"\xff":
        marker = content[at + 1 : at + 2]
        if marker == b"\xda":
            return content.find(b"\xff\xd9", at) > 0
        # Bytes of 255 may stand before a marker, which then has no length.
        at += 1 if marker == b"\xff" else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return False


def _is_whole_png(content: bytes) -> bool:
    """Whether a PNG file has all of its chunks, with the right check sums."""
    at = 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if zlib.crc32(content[at + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return False
        if content[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False


def plain_image(content: bytes) -> bytes:
    """An image file of any format that is read as what every export reads alike: as it is, or as a PNG file.

    A PNG or JPEG file is left as it is where it is upright and opaque; whether it is damaged is not looked at. Raises
    `ZooError` that says what is wrong.
    """
    jpeg = content.startswith(JPEG) and _orientation(content) == 1
    png = _is_plain_png(content) and content[25:26] not in (b"\4", b"\6") and b"tRNS" not in content
    if not jpeg and not png:
        return tf.io.encode_png(decode_file(content)).numpy()
    try:
        _check_size(content)
    except tf.errors.OpError as error:
        raise ZooError(_fault(content)) from error
    return content
