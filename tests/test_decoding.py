"""Image files to pixels: orientation, transparency, formats, damaged and oversized files; the same in the graph."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from conftest import image_recipe
from zoo.data import views
from zoo.data.decoding import (
    MAX_PIXELS,
    _gif_pixels,
    decode_file,
    decode_image,
    plain_image,
    read_content,
    read_image,
)
from zoo.data.exif import orientation
from zoo.errors import ZooError
from zoo.tasks.image_classification.preprocessing import Preprocessing


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def in_graph(content):
    return decode_image(content, 3)


@tf.function(input_signature=[tf.TensorSpec((), tf.string)])
def orientation_in_graph(content):
    return orientation(content)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photograph(size=(48, 32)):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def exif(value, order):
    tags = Image.Exif()
    tags[0x010F], tags[0x0112], tags[0x0131] = "maker", value, "software"
    tags.endian = order
    return tags.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_pillows(value, order):
    content = saved(photograph(), "JPEG", exif=exif(value, order), quality=95)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))), int)
    got = in_graph(content).numpy()
    assert got.shape == expected.shape and abs(got.astype(int) - expected).mean() < 2  # two JPEG decoders
    np.testing.assert_array_equal(decode_file(content), got)
    np.testing.assert_array_equal(in_graph(plain_image(content)), got)
    undecided = tf.io.decode_jpeg(content).numpy()  # what an export without EXIF sees
    assert value == 1 or not np.array_equal(undecided, got)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_orientation_of_other_formats_is_read_by_clients(kind):
    image = photograph()
    content = saved(
        image.transpose(Image.Transpose.ROTATE_90),
        kind,
        exif=exif(6, "<"),
        **{"WEBP": {"lossless": True}}.get(kind, {}),
    )
    np.testing.assert_array_equal(decode_file(content), np.asarray(image))
    np.testing.assert_array_equal(in_graph(plain_image(content)), np.asarray(image))


def segment(marker, content):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def tiff(value, *, order=b"MM", offset=8, count=1, tag=0x0112, kind=3):
    sign = ">" if order == b"MM" else "<"
    entry = struct.pack(f"{sign}HHIHH", tag, kind, 1, value, 0)
    return order + struct.pack(f"{sign}HIH", 42, offset, count) + entry


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([segment(0xE1, b"Exif\0\0" + tiff(6))], 6),
        ([segment(0xE1, b"Exif\0\0" + tiff(8, order=b"II"))], 8),
        ([segment(0xE0, b"JFIF\0" + bytes(9)), segment(0xE1, b"Exif\0\0" + tiff(6))], 6),
        ([segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0x"), segment(0xE1, b"Exif\0\0" + tiff(5))], 5),
        ([segment(0xFE, b"a comment"), segment(0xE2, bytes(40_000)), segment(0xE1, b"Exif\0\0" + tiff(3))], 3),
        ([segment(0xE1, b"Exif\0\0" + tiff(0))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(9))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, tag=0x0113))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, kind=2))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, order=b"XX"))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, offset=2**32 - 1))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, offset=2**31 - 1))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, offset=0))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, count=65535))], 6),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, count=0))], 1),
        ([segment(0xE1, b"Exif\0\0")], 1),
        ([segment(0xE1, b"Exif\0\0MM")], 1),
        ([b"\xff\xe0\0\0"] * 50, 1),  # segments of length zero
        ([b"\xff\xe1\0\1"], 1),
        ([segment(0xDB, bytes(65)), segment(0xE1, b"Exif\0\0" + tiff(6))], 1),  # after the tables it does not count
    ],
)
def test_unusual_and_malicious_headers(segments, expected):
    content = b"\xff\xd8" + b"".join(segments) + b"\xff\xda"
    assert int(orientation_in_graph(content)) == expected
    for length in (*range(0, 40), len(content) - 5):
        assert 1 <= int(orientation_in_graph(content[:length])) <= 8


def test_other_files_have_no_orientation():
    for content in (b"", b"\xff", b"GIF89a", b"Exif\0\0" + tiff(6), saved(photograph(), "PNG")):
        assert int(orientation_in_graph(content)) == 1


def transparent(mode):
    """A black stroke on a transparent background that is black, too."""
    stroke = Image.new("L", (12, 12), 0)
    stroke.paste(255, (4, 2, 7, 10))
    if mode == "RGBA":
        image = Image.new("RGBA", (12, 12), (0, 0, 0, 0))
        image.putalpha(stroke)
    elif mode == "LA":
        image = Image.merge("LA", (Image.new("L", (12, 12), 0), stroke))
    else:
        image = stroke.point(lambda v: 1 if v else 0).convert("P")
        image.putpalette([0, 0, 0, 0, 0, 0])
        return image, {"transparency": 0}
    return image, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF"])
def test_transparency_is_white(mode, kind):
    image, options = transparent(mode)
    if (mode, kind) in (("P", "TIFF"), ("P", "WEBP"), ("LA", "GIF")):  # Pillow does not write these
        image, options = image.convert("RGBA"), {}
        image.putalpha(transparent("RGBA")[0].getchannel("A"))
    if kind == "WEBP":
        options["lossless"] = True
    content = saved(image, kind, **options)
    got = decode_file(content)
    assert (got[2:10, 4:7] == 0).all() and (got[:, :4] == 255).all() and (got[:, 7:] == 255).all()
    np.testing.assert_array_equal(in_graph(plain_image(content)), got)
    if kind == "PNG":
        np.testing.assert_array_equal(in_graph(content), got)
        assert tf.io.decode_png(plain_image(content)).shape[2] == 3  # for exports that know nothing of transparency


def test_half_transparent_pixels_are_mixed():
    image = Image.new("RGBA", (2, 1))
    image.putpixel((0, 0), (200, 100, 0, 128))
    image.putpixel((1, 0), (9, 9, 9, 255))
    content = saved(image, "PNG")
    expected = Image.alpha_composite(Image.new("RGBA", (2, 1), "white"), image).convert("RGB")
    for got in (in_graph(content).numpy(), decode_file(content), decode_file(saved(image, "TIFF"))):
        assert abs(got.astype(int) - np.asarray(expected)).max() <= 1
        np.testing.assert_array_equal(got[0, 1], [9, 9, 9])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16", "grey with a transparent value", "2 bits"])
def test_opaque_png_files_keep_their_pixels(mode):
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    options = {}
    if mode == "I;16":
        image = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257)
    elif mode == "grey with a transparent value":
        image, options = ramp, {"transparency": 7}
    elif mode == "2 bits":
        image, options = ramp.quantize(4), {"bits": 2}
    else:
        image = ramp.convert(mode)
    content = saved(image, "PNG", **options)
    expected = tf.io.decode_png(content, channels=3).numpy()
    if options.get("transparency"):
        expected[0, 7] = 255
    np.testing.assert_array_equal(in_graph(content), expected)
    np.testing.assert_array_equal(decode_file(content), expected)


@pytest.mark.parametrize(("kind", "factor"), [(np.uint16, 257), (np.int32, 1), (np.float32, 1)])
def test_tiff_files_of_many_bits_are_read_in_grey(kind, factor):
    grey = np.arange(63, dtype=np.uint8).reshape(7, 9) * 4
    content = saved(Image.fromarray(grey.astype(kind) * kind(factor)), "TIFF")
    np.testing.assert_array_equal(decode_file(content), np.stack([grey] * 3, axis=-1))


@pytest.mark.parametrize(
    "values", [np.array([[0.0, 0.5]], np.float32), np.array([[0, 300]], np.int32), np.array([[-1.0, 9]], np.float32)]
)
def test_tiff_files_of_another_range_are_refused(tmp_path, values):
    path = tmp_path / "deep.tif"
    Image.fromarray(values).save(path)
    for read in (lambda: read_image(path, 1), lambda: read_content(bytes(path))):
        with pytest.raises(ZooError, match=r"deep\.tif cannot be decoded: it is an image of 32-bit numbers from "):
            read()


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("colours", [256, 5])
def test_bmp_files_have_the_colours_of_their_palette(mode, colours):
    image = photograph().quantize(colours) if mode == "P" else photograph().convert(mode)
    content = saved(image, "BMP")
    np.testing.assert_array_equal(in_graph(content), np.asarray(image.convert("RGB")))
    np.testing.assert_array_equal(decode_file(content), np.asarray(image.convert("RGB")))


def png_header(width, height):
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def jpeg_header(width, height):
    content = bytearray(saved(photograph(), "JPEG"))
    struct.pack_into(">HH", content, content.index(b"\xff\xc0") + 5, height, width)
    return bytes(content)


def gif_header(width, height):
    """A GIF file of one pixel by its header; its frame has the size."""
    content = saved(Image.new("P", (1, 1)), "GIF")
    at = content.index(b",\0\0\0\0\1\0\1\0")
    return content[:at] + b",\0\0\0\0" + struct.pack("<HH", width, height) + content[at + 9 :]


def gif_of_frames(width, height):
    """A GIF file whose frames are small, but TensorFlow decodes each as large as the widest and the highest."""
    frames = [gif_header(width, 1), gif_header(1, height)]
    start = frames[0].index(b",\0\0\0\0")
    return frames[0][:-1] + frames[1][start:]


@pytest.mark.parametrize("header", [png_header, jpeg_header, gif_header, gif_of_frames])
def test_images_of_too_many_pixels_are_refused_before_they_are_decoded(header):
    content = header(60_000, 60_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MAX_PIXELS:,} pixels; scale it down"):
        in_graph(content)
    for read in (decode_file, plain_image):
        with pytest.raises(ZooError, match=f"more than {MAX_PIXELS:,} pixels; scale it down|not an image"):
            read(content)


def behind_another_chunk(content):
    """A PNG file with a chunk before its header that looks like the header of one pixel."""
    chunk = b"teSt" + png_header(1, 1)[16:29]
    return content[:8] + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[8:]


@pytest.mark.parametrize(
    "content",
    [
        saved(photograph(), "WEBP"),
        saved(Image.new("RGB", (16_000, 20)), "WEBP", lossless=True, method=0, quality=0),
        behind_another_chunk(saved(photograph(), "PNG")),
        saved(photograph(), "TIFF"),
        b"\xff\x0a" + bytes(40),  # JPEG XL
        b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
        b"no image",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_other_formats_are_refused_in_the_graph(content):
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a PNG, JPEG, GIF or BMP file"):
        in_graph(content)


def test_a_png_file_with_a_chunk_before_its_header_has_the_size_of_its_header():
    image = photograph()
    content = behind_another_chunk(saved(image, "PNG"))
    np.testing.assert_array_equal(decode_file(content), np.asarray(image))
    np.testing.assert_array_equal(in_graph(plain_image(content)), np.asarray(image))
    for read in (decode_file, plain_image):
        with pytest.raises(ZooError, match=f"more than {MAX_PIXELS:,} pixels; scale it down|not an image"):
            read(behind_another_chunk(png_header(60_000, 60_000)))


def test_animations_are_counted_with_their_frames():
    frames = [Image.fromarray(np.full((3, 4), i, np.uint8)) for i in range(3)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    assert int(_gif_pixels(tf.constant(content))) == 3 * 4 * 3
    for length in range(len(content)):
        assert int(_gif_pixels(tf.constant(content[:length]))) <= 3 * 4 * 3
    np.testing.assert_array_equal(in_graph(content), np.zeros((3, 4, 3)))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_damaged_files_are_named(tmp_path, kind):
    content = saved(photograph((200, 200)), kind)
    path = tmp_path / f"half.{kind.lower()}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ZooError, match=rf"half\.{kind.lower()} cannot be decoded: it is .*damaged"):
        read_image(path, 3)
    with pytest.raises(ZooError, match=r"none\.png cannot be read: No such file"):
        read_image(tmp_path / "none.png", 3)
    path.write_bytes(b"")
    with pytest.raises(ZooError, match="not an image that can be read"):
        read_image(path, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_content_for_the_graph_is_that_of_the_file(tmp_path, kind):
    content = saved(photograph((90, 60)), kind)
    path = tmp_path / "a"
    for extra in (b"", b"what follows the image"):
        path.write_bytes(content + extra)
        np.testing.assert_array_equal(in_graph(read_content(path)), decode_file(content))
    for count in (len(content) * 9 // 10, 30, 3):
        path.write_bytes(content[:count])
        with pytest.raises(ZooError, match=r"a cannot be decoded: it is .*damaged"):
            read_content(path)
    if kind == "PNG":
        path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        with pytest.raises(ZooError, match="a PNG image that is damaged"):
            read_content(path)
    with pytest.raises(ZooError, match="cannot be read: No such file"):
        read_content(tmp_path / "none")


def test_a_jpeg_file_with_a_preview_needs_its_own_end_marker(tmp_path):
    preview = segment(0xE1, b"Exif\0\0" + saved(photograph((20, 20)), "JPEG"))
    content = saved(photograph(), "JPEG")
    (tmp_path / "a").write_bytes(content[:2] + b"\xff" + preview + content[2:])
    np.testing.assert_array_equal(in_graph(read_content(tmp_path / "a")), decode_file(content))
    (tmp_path / "a").write_bytes(content[:2] + preview + content[2:-40])
    with pytest.raises(ZooError, match="a JPEG image that is damaged or cut off"):
        read_content(tmp_path / "a")


def test_plain_files_are_sent_as_they_are():
    for content in (saved(photograph(), "JPEG"), saved(photograph(), "PNG"), saved(photograph().convert("L"), "PNG")):
        assert plain_image(content) is content


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (1, 1), (30_000, 2)])
def test_strips_are_cropped_before_they_are_scaled(size):
    strip = tf.zeros((size[1], size[0], 3), tf.uint8)
    assert views.central_square(256, 3).take(strip, None).shape == (256, 256, 3)
    assert views.rescaled(256, 3).take(strip, None).shape[:2].num_elements() <= 20 * 256 * 256
    assert views.random_scale((224, 224, 3), (256, 480)).take(strip, tf.constant([1, 2])).shape == (224, 224, 3)
    assert views.resize_shorter(strip[None], 64).shape[1:3].num_elements() <= 20 * 64 * 64


def test_the_aspect_limit_keeps_the_centre_and_leaves_other_pictures_alone():
    rows, columns = np.mgrid[:2, :100]
    strip = tf.constant(np.stack([rows, columns, rows], -1).astype(np.uint8))
    np.testing.assert_array_equal(views.rescaled(2, 3).take(strip, None), strip[:, 30:70])
    np.testing.assert_array_equal(views.rescaled(2, 3).take(strip[:, :40], None), strip[:, :40])


@pytest.mark.parametrize("size", [(61, 44), (44, 61), (47, 47), (300, 211)])
@pytest.mark.parametrize("side", [41, 44])
def test_serving_sees_what_scoring_sees(size, side):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for crop in ("inception", "square", "scale"):
        recipe = image_recipe(crop=crop, train_sizes=(44,), test_size=side, model_args={"input_shape": (32, 32, 3)})
        ready = Preprocessing(recipe, (32, 32, 3))
        scored = ready.centre(ready.test_view.take(tf.constant(pixels), None)[None])
        np.testing.assert_array_equal(ready.served(tf.constant(pixels[None])), scored)
