"""RandAugment (Cubuk, Zoph, Shlens & Le 2020, arXiv:1909.13719): operations drawn for each image, all of one strength.

The ranges are those of AutoAugment (Cubuk et al. 2019, table 6); a magnitude of 10 is the whole of them. The operations
on colours are Pillow's. The paper does not state the filling of what comes into the image, which is grey here, nor the
point about which an image is sheared, which is its centre. Keras's layer draws one operation for a whole batch, from a
generator with a state; here each image has its own, which depend on the seed and the step alone.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from zoo.data.stream import BatchRNG

FILL = 128.0
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue
Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # pixels float32 (H, W, C) and a strength from -1 to 1


def rand_augment(images: tf.Tensor, rng: BatchRNG, count: int, magnitude: float) -> tf.Tensor:
    """Images uint8 (N, H, W, C), on each of which `count` operations were done, one after the other.

    The operations are drawn from `OPERATIONS` with equal chances; one that has a direction takes either with equal
    chances. `magnitude` is from 0 to 10.
    """
    functions = list(OPERATIONS.values())

    def augmented(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        image, drawn = given
        for i in range(count):
            strength = tf.where(drawn[2 * i + 1] < 0.5, -1.0, 1.0) * magnitude / 10
            choice = tf.cast(drawn[2 * i] * len(functions), tf.int32)
            image = tf.switch_case(choice, [lambda f=f, x=image, s=strength: apply(f, x, s) for f in functions])
        return image

    return tf.map_fn(augmented, (images, rng.uniform(2 * count)), fn_output_signature=tf.uint8)


def apply(operation: Operation, image: tf.Tensor, strength: tf.Tensor | float) -> tf.Tensor:
    """An operation on an image, uint8 (H, W, C), which keeps its type and shape."""
    pixels = operation(tf.cast(image, tf.float32), tf.cast(strength, tf.float32))
    return tf.ensure_shape(tf.cast(tf.clip_by_value(pixels, 0.0, 255.0), tf.uint8), image.shape)


def _auto_contrast(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    low, high = tf.reduce_min(pixels, (0, 1)), tf.reduce_max(pixels, (0, 1))
    return tf.where(high > low, tf.math.divide_no_nan(255.0, high - low) * (pixels - low), pixels)


def _equalize(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    def channel(values: tf.Tensor) -> tf.Tensor:
        values = tf.cast(values, tf.int32)
        counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256, maxlength=256)
        filled = tf.boolean_mask(counts, counts > 0)
        step = (tf.reduce_sum(counts) - filled[-1]) // 255
        table = (tf.cumsum(counts, exclusive=True) + step // 2) // tf.maximum(step, 1)
        return tf.cast(tf.where(step > 0, tf.gather(tf.minimum(table, 255), values), values), tf.float32)

    return tf.stack([channel(part) for part in tf.unstack(pixels, axis=-1)], axis=-1)


def _posterize(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    step = 2.0 ** tf.round(4 * tf.abs(strength))  # of the eight bits, at least four are kept
    return tf.floor(pixels / step) * step


def _solarize(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    return tf.where(pixels < 256 * (1 - tf.abs(strength)), pixels, 255 - pixels)


def _enhance(degenerate: Callable[[tf.Tensor], tf.Tensor]) -> Operation:
    """A mixture of an image and of what is left of it without a property, from 0.1 to 1.9 parts of the image."""

    def operation(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
        without = degenerate(pixels)
        return without + (1 + 0.9 * strength) * (pixels - without)

    return operation


def _grey(pixels: tf.Tensor) -> tf.Tensor:
    return tf.round(tf.reduce_sum(pixels * LUMA, -1, keepdims=True))  # one channel stays: the weights add up to 1


def _mean_grey(pixels: tf.Tensor) -> tf.Tensor:
    return tf.round(tf.reduce_mean(_grey(pixels))) + tf.zeros_like(pixels)


def _smooth(pixels: tf.Tensor) -> tf.Tensor:
    """The mean of 3 × 3 pixels in which the middle one counts five times; the border stays."""
    if min(pixels.shape[:2]) < 3:
        return pixels
    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, pixels.shape[-1], 1])
    inner = tf.round(tf.nn.depthwise_conv2d(pixels[None], kernel, [1, 1, 1, 1], "VALID")[0])
    inside = tf.pad(tf.ones_like(inner), [[1, 1], [1, 1], [0, 0]]) > 0
    return tf.where(inside, tf.pad(inner, [[1, 1], [1, 1], [0, 0]]), pixels)


def _moved(matrix: Callable[[tf.Tensor, int, int], tuple]) -> Operation:
    """An image whose pixel at p from the centre is that of the given one at A p + t; `matrix` gives A and t by rows."""

    def operation(pixels: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
        height, width = pixels.shape[:2]
        (a, b, x), (c, d, y) = matrix(strength, height, width)
        across, down = (width - 1) / 2, (height - 1) / 2
        row = [a, b, x + across - a * across - b * down, c, d, y + down - c * across - d * down, 0.0, 0.0]
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=pixels[None],
            transforms=tf.stack([tf.cast(value, tf.float32) for value in row])[None],
            output_shape=[height, width],
            fill_value=FILL,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )[0]

    return operation


def _rotation(strength: tf.Tensor, height: int, width: int) -> tuple:
    angle = strength * math.radians(30)
    return (tf.cos(angle), -tf.sin(angle), 0), (tf.sin(angle), tf.cos(angle), 0)


OPERATIONS: dict[str, Operation] = {
    "identity": lambda pixels, strength: pixels,
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "rotate": _moved(_rotation),
    "solarize": _solarize,
    "color": _enhance(_grey),
    "posterize": _posterize,
    "contrast": _enhance(_mean_grey),
    "brightness": _enhance(tf.zeros_like),
    "sharpness": _enhance(_smooth),
    "shear_x": _moved(lambda s, height, width: ((1, 0.3 * s, 0), (0, 1, 0))),
    "shear_y": _moved(lambda s, height, width: ((1, 0, 0), (0.3 * s, 1, 0))),
    "translate_x": _moved(lambda s, height, width: ((1, 0, s * width * 150 / 331), (0, 1, 0))),
    "translate_y": _moved(lambda s, height, width: ((1, 0, 0), (0, 1, s * height * 150 / 331))),
}
