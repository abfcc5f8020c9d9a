"""From pixels to a model's input, with statistics of the training images."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import tensorflow as tf

from zoo.errors import ZooError

# Goodfellow et al. 2013 (Maxout networks), section 5.2, with the constants of their code, pylearn2.
CONTRAST = 55.0  # the norm of an image after global contrast normalisation
WHITENING_BIAS = 0.1  # added to the eigenvalues of the covariance


class Normalisation(tf.Module):
    """uint8 images (N, height, width, C) of a shape → floats of the same shape.

    `kind` is `"constants"` (subtract `mean` and divide by `std`, one value or one a channel), `"mean_image"` (subtract
    the mean of the training images pixel by pixel and divide by `std`), `"per_image"` (mean 0 and variance 1 of each
    image) or `"gcn_zca"` (global contrast normalisation and ZCA whitening). If `needs_images` is True, call `learn`
    with the training images first. The statistics are variables, so that an export contains them.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        kind: str = "constants",
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (255.0,),
        dtype: str = "float32",
    ):
        super().__init__()
        self.kind, self.dtype, self.shape = kind, dtype, tuple(shape)
        self.mean, self.std = tuple(mean), tuple(std)
        size = int(np.prod(shape))
        if self.kind == "mean_image":
            self.mean = tf.Variable(tf.zeros(shape, self.dtype), trainable=False)
        if self.kind == "gcn_zca":
            self.centre = tf.Variable(tf.zeros(size, self.dtype), trainable=False)
            self.whitening = tf.Variable(tf.zeros((size, size), self.dtype), trainable=False)

    @property
    def needs_images(self) -> bool:
        return self.kind in ("mean_image", "gcn_zca")

    def take(self, value: Callable[[str], np.ndarray]) -> None:
        """Takes the statistics of an export; `value` gives a variable by its attributes there. Raises `ZooError` where
        they are of another size."""
        names = {"mean_image": ("mean",), "gcn_zca": ("centre", "whitening")}.get(self.kind, ())
        for name in names:
            variable, theirs = getattr(self, name), value(f"preprocessing/normalisation/{name}")
            if theirs.shape != tuple(variable.shape):
                raise ZooError(
                    f"The export's {self.kind} statistics are of size {theirs.shape}, and the input here of "
                    f"{tuple(variable.shape)}; omit input_shape."
                )
            variable.assign(theirs)

    def learn(self, batches: Iterable[tf.Tensor], log: Callable[[str], None]) -> None:
        """Takes the statistics of the training images, given in uint8 batches (n, height, width, C)."""
        if self.kind == "mean_image":
            total, count = np.zeros(self.shape), 0
            for images in batches:
                total, count = total + images.numpy().sum(axis=0, dtype=np.float64), count + len(images)
            self.mean.assign(total / count)
        if self.kind == "gcn_zca":
            log("Learning the whitening of the training images")
            size = int(np.prod(self.shape))
            products, total, count = np.zeros((size, size)), np.zeros(size), 0
            for images in batches:
                rows = contrast_normalised(tf.cast(images, tf.float32)).numpy()
                products += rows.T @ rows
                total, count = total + rows.sum(axis=0, dtype=np.float64), count + len(rows)
            mean = total / count
            values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
            self.centre.assign(mean)
            self.whitening.assign(vectors / np.sqrt(np.maximum(values, 0) + WHITENING_BIAS) @ vectors.T)

    def __call__(self, images: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Normalises uint8 images; `noise`, if any, is added to the pixels first."""
        pixels = tf.cast(images, self.dtype)
        if noise is not None:
            pixels += tf.cast(noise, self.dtype)
        if self.kind == "per_image":
            return tf.image.per_image_standardization(pixels)
        if self.kind == "gcn_zca":
            white = tf.linalg.matmul(contrast_normalised(pixels) - self.centre, self.whitening)
            return tf.reshape(white, tf.shape(pixels))
        return (pixels - tf.convert_to_tensor(self.mean, self.dtype)) / tf.constant(self.std, self.dtype)


def contrast_normalised(pixels: tf.Tensor) -> tf.Tensor:
    """Global contrast normalisation: float (N, H, W, C) → (N, H·W·C), each image of mean 0 and norm `CONTRAST`."""
    rows = tf.reshape(pixels, (tf.shape(pixels)[0], pixels.shape[1] * pixels.shape[2] * pixels.shape[3]))
    rows -= tf.reduce_mean(rows, axis=1, keepdims=True)
    return CONTRAST * tf.math.divide_no_nan(rows, tf.norm(rows, axis=1, keepdims=True))
