"""From pictures of any size to the model's size, with the augmentation of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

# Krizhevsky et al. 2012, section 4.1: the principal components of the colours of ImageNet's pixels, which run from 0 to
# 255, and the deviations along them (figures of MXNet's ImageNet example and, divided by 255, of fb.resnet.torch).
COLOUR_DEVIATIONS = (55.46, 4.794, 1.148)
COLOUR_COMPONENTS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)  # red, green and blue; a column each


MAX_ASPECT = 20  # of a picture whose shorter side is resized; of longer pictures the central part is taken


@dataclass(frozen=True)
class View:
    """How one picture becomes an image of the data set.

    `take` gets uint8 pixels (H, W, C) of any size and a seed (2,), and returns uint8 of `shape` (height, width, C), in
    which None is a size that differs from picture to picture. If it is not `random`, the seed has no effect.
    """

    shape: tuple[int | None, int | None, int]
    take: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    random: bool = False

    @property
    def storable(self) -> bool:
        """Whether the image is the same each time and all are of one size."""
        return not self.random and None not in self.shape

    @property
    def size(self) -> int:
        """Bytes of an image; where sizes differ, of none."""
        height, width, channels = self.shape
        return (height or 0) * (width or 0) * channels


def box(height: int, width: int, starts: Sequence[tf.Tensor], ends: Sequence[tf.Tensor]) -> tf.Tensor:
    """Which pixels lie in a box of each image, bool (N, height, width): from a first row and column on, (N,) each, and
    before an end row and column."""
    inside = []
    for size, start, end in zip((height, width), starts, ends, strict=True):
        position = tf.range(size, dtype=tf.float32)[None]
        inside.append((position >= start[:, None]) & (position < end[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def whole(shape: Sequence[int]) -> View:
    """The whole picture, resized to (height, width, C) whatever its aspect."""
    return View(tuple(shape), lambda pixels, seed: resize(pixels[None], shape)[0])


def central_square(side: int, channels: int) -> View:
    """The shorter side resized to `side`, then the central square."""
    return View((side, side, channels), lambda pixels, seed: resize_to_square(pixels[None], side)[0])


def rescaled(side: int, channels: int) -> View:
    """The whole picture with its shorter side resized to `side`."""
    return View((None, None, channels), lambda pixels, seed: resize_shorter(pixels[None], side)[0])


def random_scale(shape: Sequence[int], sides: Sequence[int]) -> View:
    """The shorter side drawn from `sides`, the least and the greatest, then a random window (Simonyan & Zisserman 2015,
    section 3.1; He et al. 2016, section 3.4)."""
    height, width, _ = shape
    least, greatest = max(sides[0], height, width), max(sides[-1], height, width)

    def take(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        seeds = tf.random.split(seed, 2)
        side = tf.random.stateless_uniform([], seeds[0], least, greatest + 1, tf.int32)
        picture = resize_shorter(pixels[None], side)[0]
        return tf.image.stateless_random_crop(picture, tuple(shape), seeds[1])

    return View(tuple(shape), take, random=True)


def inception_crop(shape: Sequence[int]) -> View:
    """A random window of 8 to 100 % of the area with an aspect of 3/4 to 4/3, resized (Szegedy et al. 2015, section
    6). After ten draws that do not fit, the whole picture."""
    height, width, _ = shape

    def take(pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        start, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.shape(pixels),
            bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
            seed=seed,
            min_object_covered=0.0,
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return resize(tf.slice(pixels, start, size)[None], (height, width))[0]

    return View(tuple(shape), take, random=True)


def resize(images: tf.Tensor, shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
    """uint8 (N, any, any, C) as uint8 (N, height, width, C): bilinear, antialiased, rounded."""
    height, width = shape[0], shape[1]
    already = tf.reduce_all(tf.equal(tf.shape(images)[1:3], [height, width]))

    def resized() -> tf.Tensor:
        smooth = tf.image.resize(images, (height, width), method="bilinear", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(smooth), 0, 255), tf.uint8)

    out = tf.cond(already, lambda: images, resized)
    out.set_shape((images.shape[0], *(n if isinstance(n, int) else None for n in (height, width)), images.shape[3]))
    return out


def with_digit_width(images: tf.Tensor, width: int) -> tf.Tensor:
    """Images (N, H, W, C) as float32, the columns from the first to the last that is not black resized to `width`.

    They are in the middle, between black columns; a black image stays black, and the height is not changed (Cireşan,
    Meier & Schmidhuber 2012).
    """
    _, height, full, channels = images.shape
    ink = tf.cast(tf.reduce_max(images, axis=(1, 3)) > 0, tf.int32)
    first = tf.cast(tf.argmax(ink, axis=1), tf.float32)
    last = full - 1 - tf.cast(tf.argmax(ink[:, ::-1], axis=1), tf.float32)
    # The box of crop_and_resize is from the centre of its first pixel to that of its last.
    top, bottom = tf.zeros_like(first), tf.ones_like(first)
    boxes = tf.stack([top, first / (full - 1), bottom, last / (full - 1)], axis=1)
    digits = tf.image.crop_and_resize(images, boxes, tf.range(tf.shape(images)[0]), (height, width))
    left = (full - width) // 2
    out = tf.pad(digits, [[0, 0], [0, 0], [left, full - width - left], [0, 0]])
    return tf.ensure_shape(out, (None, height, full, channels))


def resize_shorter(images: tf.Tensor, side: int | tf.Tensor) -> tf.Tensor:
    """uint8 (N, any, any, C) with the shorter side resized to `side` and the same aspect ratio.

    Of images more than `MAX_ASPECT` times as long as wide, the central part of that aspect: a strip of 1 × 3,000 pixels
    would be 256 × 768,000 otherwise.
    """
    height, width = tf.unstack(tf.shape(images)[1:3])
    longest = MAX_ASPECT * tf.minimum(height, width)
    top, left = tf.maximum(height - longest, 0) // 2, tf.maximum(width - longest, 0) // 2
    images = images[:, top : top + tf.minimum(height, longest), left : left + tf.minimum(width, longest)]
    size = tf.cast(tf.shape(images)[1:3], tf.float64)
    scaled = tf.cast(tf.round(size * (tf.cast(side, tf.float64) / tf.reduce_min(size))), tf.int32)
    return resize(images, (scaled[0], scaled[1]))


def resize_to_square(images: tf.Tensor, side: int) -> tf.Tensor:
    """uint8 (N, any, any, C) as (N, side, side, C): the shorter side brought to `side`, then the central square."""
    return window(resize_shorter(images, side), (side, side))


def window(images: tf.Tensor, size: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)) -> tf.Tensor:
    """A window (N, height, width, C) of larger images, at a `place` from (0, 0), top left, to (1, 1), bottom right."""
    free = [tf.shape(images)[axis + 1] - size[axis] for axis in (0, 1)]
    top, left = (tf.cast(tf.cast(free[axis], tf.float32) * place[axis], tf.int32) for axis in (0, 1))
    out = images[:, top : top + size[0], left : left + size[1]]
    out.set_shape((images.shape[0], *size, images.shape[3]))
    return out


def ten_crops(images: tf.Tensor, size: tuple[int, int]) -> list[tf.Tensor]:
    """Centre, four corners, and the mirror images of the five (Krizhevsky et al. 2012, section 4.1)."""
    five = [window(images, size, place) for place in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))]
    return five + [view[:, :, ::-1] for view in five]


def reflected(images: tf.Tensor, margin: int) -> tf.Tensor:
    """Images (N, H, W, C) with a margin on each side that mirrors them, without the pixels of the edge themselves."""
    return tf.pad(images, [[0, 0], [margin, margin], [margin, margin], [0, 0]], "REFLECT")


def mirror_views(images: tf.Tensor, *, shifted: bool) -> list[tuple[float, tf.Tensor]]:
    """Views (N, H, W, C) of images of that shape, with weights whose sum is 1 (Jordan 2024, section 3.5).

    They are the image and its mirror image; with `shifted` also both shifted by one pixel up and left and by one down
    and right, a quarter of the weight each, where the edge is filled by reflection.
    """
    weighted = [(1.0, images)]
    if shifted:
        height, width = images.shape[1:3]
        wide = reflected(images, 1)
        moved = [wide[:, 2:, 2:], wide[:, :height, :width]]
        weighted = [(0.5, images), *((0.25, view) for view in moved)]
    return [(weight / 2, view) for weight, own in weighted for view in (own, own[:, :, ::-1])]


def random_window(
    images: tf.Tensor, size: tuple[int, int], drawn: tf.Tensor, mirrored: tf.Tensor | None = None, margin: int = 0
) -> tf.Tensor:
    """A window (N, height, width, C) of each image, within `margin` pixels of zeros around it.

    Two numbers from 0 to 1 an image, `drawn` (N, 2), say which; `mirrored` (N,) which windows are turned left to right.
    """
    free = [images.shape[axis + 1] + 2 * margin - size[axis] + 1 for axis in (0, 1)]
    top, left = tf.unstack(tf.floor(drawn * tf.constant(free, tf.float32)) - margin, axis=1)
    one, zero = tf.ones_like(top), tf.zeros_like(top)
    if mirrored is None:
        step, first = one, left
    else:
        step, first = tf.where(mirrored, -one, one), tf.where(mirrored, left + (size[1] - 1), left)
    # Column x and row y of a window are column step·x + first and row y + top of its image. These are whole numbers, so
    # no pixel is interpolated.
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([step, zero, first, zero, one, top, zero, zero], axis=1),
        output_shape=tf.constant(size, tf.int32),
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
    )


def colour_noise(drawn: tf.Tensor) -> tf.Tensor:
    """What is added to the pixels of each RGB image, float32 (N, 1, 1, 3): the principal components of the colours,
    each times its deviation and a drawn number, (N, 3)."""
    noise = tf.linalg.matmul(drawn * COLOUR_DEVIATIONS, tf.constant(COLOUR_COMPONENTS), transpose_b=True)
    return noise[:, None, None, :]
