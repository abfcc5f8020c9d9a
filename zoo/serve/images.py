"""The number of pixels of an encoded image, read from its header before it is decoded."""

import struct


def image_size(content: bytes) -> tuple[int, int, int] | None:
    """Height, width and frames of a PNG, JPEG, GIF or BMP file; None for anything else.

    A file that ends before its size also gives None: TensorFlow refuses it without decoding.
    """
    try:
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", content, 16)
            return height, width, 1
        if content.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(content)
        if content.startswith((b"GIF87a", b"GIF89a")):
            width, height = struct.unpack_from("<HH", content, 6)
            return height, width, _gif_frames(content)
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


def _gif_frames(content: bytes) -> int:
    """The number of image descriptors."""

    def after_colours(flags: int, at: int) -> int:
        return at + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    def after_blocks(at: int) -> int:
        while content[at]:
            at += content[at] + 1
        return at + 1

    frames, at = 0, after_colours(content[10], 13)
    try:
        while content[at] != 0x3B:
            if content[at] == 0x2C:
                frames += 1
                at = after_blocks(after_colours(content[at + 9], at + 10) + 1)
            else:  # an extension
                at = after_blocks(at + 2)
    except IndexError:  # an incomplete file: count the descriptors before its end
        pass
    return max(frames, 1)
