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
        ([segment(0xDB, bytes(65)), segment(0xE1, b"Exif\0\0" + tiff(6))], 6),  # among the tables, as Pillow reads it
        ([segment(0xE2, bytes(65_000))] * 3 + [segment(0xDB, bytes(65)), segment(0xE1, b"Exif\0\0" + tiff(6))], 1),
        ([segment(0xE2, b"Exif\0\0" + tiff(6))], 1),
        ([segment(0xE1, b"Exif\0\0" + tiff(6, offset=500)), segment(0xE2, bytes(462) + tiff(6)[8:])], 1),
        ([b"\xff" * 2000, segment(0xE1, b"Exif\0\0" + tiff(6))], 1),  # no more than 1,000 bytes and segments
        ([segment(0xDA, bytes(10)), segment(0xE1, b"Exif\0\0" + tiff(6))], 1),  # after a scan it does not count
    ],
)
def test_unusual_and_malicious_headers(segments, expected):
    content = b"\xff\xd8" + b"".join(segments) + b"\xff\xda"
    assert int(orientation_in_graph(content)) == expected
    for length in (*range(0, 40), len(content) - 5):
        assert 1 <= int(orientation_in_graph(content[:length])) <= 8


def jpeg_with(*segments):
    content = saved(photograph(), "JPEG", quality=95)
    return content[:2] + b"".join(segments) + content[2:]


def app1(content):
    return segment(0xE1, b"Exif\0\0" + content)


def tiff_of(kind, order, count, form, *values):
    """A TIFF header whose orientation is stored as another type, behind the directory where it takes over 4 bytes."""
    value = struct.pack(order + form * count, *values * count)
    place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", 26)
    head = b"II" if order == "<" else b"MM"
    return head + struct.pack(order + "HIHHHI", 42, 8, 1, 0x0112, kind, count) + place + bytes(4) + value


def pillows(content):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))


TYPES = [  # number, format, value; Pillow does not take the orientation from bytes and text
    (1, "B", 6), (2, "c", b"6"), (3, "H", 6), (4, "I", 6), (5, "II", 6, 1), (6, "b", 6), (7, "B", 6), (8, "h", 6),
    (9, "i", 6), (10, "ii", 6, 1), (11, "f", 6), (12, "d", 6), (13, "I", 6), (16, "Q", 6), (17, "I", 6),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Metadata Warning")  # Pillow's, of two values where one is expected
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("kind", "form", "values"), [(kind, form, values) for kind, form, *values in TYPES])
def test_an_orientation_of_another_type_is_pillows(kind, form, values, count, order):
    content = jpeg_with(app1(tiff_of(kind, order, count, form, *values)))
    assert int(orientation_in_graph(content)) == (6 if pillows(content).shape == (48, 32, 3) else 1)
    assert (kind in (1, 2, 7, 17)) == (int(orientation_in_graph(content)) == 1)


SHORT, LONG = tiff_of(3, ">", 1, "H", 6), tiff_of(4, "<", 1, "I", 6)


@pytest.mark.parametrize(
    "segments",
    [
        (app1(LONG),),
        (b"\xff" * 5, app1(SHORT)),
        (segment(0xE0, b"JFIF\0" + bytes(9)), b"\xff", app1(SHORT)),
        (segment(0xE2, b"ICC_PROFILE\0\1\3" + bytes(65_000)),) * 3 + (app1(SHORT),),
        (segment(0xE2, b"ICC_PROFILE\0\1\3" + bytes(65_000)),) * 40 + (app1(SHORT),),
        (segment(0xFE, b"Exif\0\0"), app1(SHORT)),
        (segment(0xDB, bytes(1) + b"\1" * 64), app1(SHORT)),
        (app1(b"Exif\0\0" + SHORT),),
        (app1(LONG[:12]), app1(LONG[12:])),  # data of more than one segment
        (app1(b"MM\0*" + struct.pack(">I", 60_008) + bytes(60_000)), app1(SHORT[8:])),
        (app1(SHORT), app1(tiff_of(3, ">", 1, "H", 3))),
        (app1(SHORT), segment(0xE2, bytes(9)), app1(tiff_of(3, ">", 1, "H", 3))),
    ],
)
def test_exif_anywhere_before_the_scan_turns_a_jpeg_file(tmp_path, segments):
    content = jpeg_with(*segments)
    expected = pillows(content)
    got = in_graph(content).numpy()
    assert got.shape == expected.shape == (48, 32, 3) and abs(got.astype(int) - expected).mean() < 2
    (tmp_path / "a").write_bytes(content)
    for same in (decode_file(content), in_graph(plain_image(content)), in_graph(read_content(tmp_path / "a"))):
        np.testing.assert_array_equal(same, got)
    assert plain_image(content).startswith(b"\x89PNG")  # which exports that know nothing of this read alike


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_with_profile(kind, data):
    """A PNG file with EXIF data in hexadecimal, as ImageMagick writes it."""
    content = saved(photograph(), "PNG")
    text = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode() if isinstance(data, bytes) else data.encode()
    text = {b"tEXt": text, b"zTXt": b"\0" + zlib.compress(text), b"iTXt": b"\1\0\0\0" + zlib.compress(text)}[kind]
    return content[:33] + chunk(kind, b"Raw profile type exif\0" + text) + content[33:]


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("data", [exif(6, "<"), exif(5, ">"), LONG], ids=["with name", "big-endian", "LONG"])
def test_exif_in_a_text_of_a_png_file_turns_it(tmp_path, kind, data):
    content = png_with_profile(kind, data)
    expected = pillows(content)
    assert expected.shape == (48, 32, 3)
    (tmp_path / "a").write_bytes(content)
    for got in (decode_file(content), in_graph(plain_image(content)), in_graph(read_content(tmp_path / "a"))):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("data", ["no profile", "\nexif\n    4\nabcx\n", b"damaged", b"Exif\0\0MM"])
def test_a_png_file_with_damaged_exif_is_upright(data):
    content = png_with_profile(b"zTXt", data)
    for got in (decode_file(content), in_graph(plain_image(content))):
        np.testing.assert_array_equal(got, np.asarray(photograph()))


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


def tiff_image(values, bits, *, photometric=1, sample_format=1):
    """A TIFF file, little-endian and uncompressed, of numbers (H, W) with this many bits each."""
    height, width = values.shape
    if values.dtype.kind == "u":
        digits = "".join(f"{value:0{bits}b}" for value in values.ravel())
        data = (
            int(digits, 2).to_bytes(len(digits) // 8, "big") if bits % 8 else values.astype(f"<u{bits // 8}").tobytes()
        )
    else:
        data = values.tobytes()
    tags = [
        (256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 122), (277, 1), (278, height),
        (339, sample_format),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 10, 12, 14, 16])
def test_tiff_files_have_their_depth_and_their_white(bits, photometric):
    greatest = (1 << bits) - 1
    values = np.linspace(0, greatest, 64).round().astype(np.uint16).reshape(4, 16)
    content = tiff_image(values, bits, photometric=photometric)
    if bits in (10, 14) or (bits, photometric) == (12, 0):
        with pytest.raises(ZooError, match="a TIFF image that is damaged, or of a depth or kind that is not read"):
            decode_file(content)
        return
    light = values / greatest if photometric else 1 - values / greatest
    assert abs(decode_file(content)[..., 0] / 255 - light).max() < 1 / 255
    np.testing.assert_array_equal(in_graph(plain_image(content)), decode_file(content))


@pytest.mark.parametrize(
    ("values", "options", "fault"),
    [
        (np.array([[0.0, 200.0]], np.float32), {"photometric": 0, "sample_format": 3}, "where 0 is white"),
        (np.array([[-3, 100]], np.int8), {"sample_format": 2}, "numbers from -3 to 100, not from 0 to 255"),
        (np.array([[-3, 100]], np.int16), {"sample_format": 2}, "numbers from -3 to 100, not from 0 to 255"),
    ],
)
def test_tiff_files_whose_white_is_not_known_are_refused(values, options, fault):
    content = tiff_image(values, 8 * values.itemsize, **options)
    with pytest.raises(ZooError, match=fault):
        decode_file(content)


@pytest.mark.parametrize(
    "values", [np.array([[0.0, 0.5]], np.float32), np.array([[0, 300]], np.int32), np.array([[-1.0, 9]], np.float32)]
)
def test_tiff_files_of_another_range_are_refused(tmp_path, values):
    path = tmp_path / "deep.tif"
    Image.fromarray(values).save(path)
    for read in (lambda: read_image(path, 1), lambda: read_content(bytes(path))):
        with pytest.raises(ZooError, match=r"deep\.tif cannot be decoded: it is an image of numbers from "):
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
