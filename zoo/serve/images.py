"""The number of pixels of an encoded image, read from its header before it is decoded."""

import re
import struct

# What TensorFlow decodes, too, but `image_size` does not read: PNG with another chunk before its header, WebP, JPEG XL.
OTHER_IMAGE = re.compile(rb"\x89PNG\r\n\x1a\n|RIFF.{4}WEBP|\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", re.DOTALL)


def image_size(content: bytes) -> tuple[int, int, int] | None:
    """Height, width and frames of a PNG, JPEG, GIF or BMP file; None for anything else.

    A file that ends before its size also gives None: TensorFlow refuses it without decoding.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"):
            width, height = struct.unpack_from(">II", content, 16)
            return height, width, 1
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(content)
        if content.startswith(b"GIF8"):
            return _gif_size(content)
        if content.startswith(b"BM") and b"\0" in content[:26]:  # a text may begin with BM, too
            width, height = struct.unpack_from("<ii", content, 18)
            return abs(height), abs(width), 1
    except (struct.error, IndexError):
        pass
    return None


def _jpeg_size(content: bytes) -> tuple[int, int, int] | None:
    """The size in the first start-of-frame segment; bytes between segments are skipped, as libjpeg does."""
    at = 2
    while True:
        at = content.find(b"\xff", at)
        if at < 0:
            return None
        while content[at] == 0xFF:
            at += 1
        marker = content[at]
        at += 1
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, at + 3)
            return height, width, 1
        if marker not in (0x00, 0x01, *range(0xD0, 0xD9)):  # these have no length
            at += struct.unpack_from(">H", content, at)[0]


def _gif_size(content: bytes) -> tuple[int, int, int] | None:
    """The greatest height and width of the frames, and their number. TensorFlow does not use the size in the header."""

    def after_colours(flags: int, at: int) -> int:
        return at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    def after_blocks(at: int) -> int:
        while content[at]:
            at += content[at] + 1
        return at + 1

    widths, heights, at = [], [], after_colours(content[10], 13)
    try:
        while content[at] in b",!":
            if content[at] == ord(","):
                width, height = struct.unpack_from("<HH", content, at + 5)
                widths.append(width)
                heights.append(height)
                at = after_blocks(after_colours(content[at + 9], at + 10) + 1)
            else:  # an extension
                at = after_blocks(at + 2)
    except (struct.error, IndexError):  # an incomplete file: TensorFlow decodes the frames before its end
        pass
    return (max(heights), max(widths), len(widths)) if widths else None
