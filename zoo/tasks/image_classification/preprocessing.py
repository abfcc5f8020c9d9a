"""From uint8 images to the input of a model: one preprocessing for training, scoring and serving."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from zoo.data import views
from zoo.data.image_split import ImageSplit
from zoo.data.images import load_images
from zoo.data.normalisation import Normalisation
from zoo.data.rand_augment import rand_augment
from zoo.data.splits import Splits
from zoo.data.stream import BatchRNG
from zoo.data.views import View
from zoo.errors import UsageError
from zoo.tasks.image_classification.recipe import ImageRecipe


class Preprocessing(tf.Module):
    """uint8 images → the input of a recipe's model. It is part of the export."""

    def __init__(self, recipe: ImageRecipe, input_shape: Sequence[int]):
        super().__init__()
        self.recipe = recipe
        if not input_shape and not recipe.model_args.get("input_shape"):
            raise UsageError(
                f"{recipe.name}: the input_shape of {recipe.model} is not known; give it to zoo.register, or give the "
                "builder an argument input_shape with a default."
            )
        self.input_shape = tuple(recipe.model_args.get("input_shape") or input_shape)
        self.shape = image_shape(recipe, input_shape)
        self.normalisation = Normalisation(
            self.input_shape,
            kind=recipe.normalisation,
            mean=recipe.pixel_mean,
            std=recipe.pixel_std,
            dtype="float64" if recipe.precision == "float64" else "float32",
        )
        channels = self.shape[2]
        for key in ("pixel_mean", "pixel_std"):
            if len(getattr(recipe, key)) not in (1, channels):
                raise UsageError(
                    f"{recipe.name}: {key} has {len(getattr(recipe, key))} values; "
                    f"it must have one, or one for each of the {channels} channels."
                )
        if recipe.random_shift >= min(self.input_shape[:2]):
            raise UsageError(
                f"{recipe.name}: random_shift is {recipe.random_shift}; it must be smaller than an image of "
                f"{self.input_shape[0]} × {self.input_shape[1]}."
            )
        if recipe.digit_width > self.shape[1]:
            raise UsageError(
                f"{recipe.name}: digit_width={recipe.digit_width} is more than the {self.shape[1]} pixels of an image."
            )
        sides = [recipe.test_size, *([recipe.train_sizes[0]] if recipe.crop in ("square", "scale") else [])]
        smaller = [side for side in sides if side < max(self.shape[:2])]
        if recipe.crop != "none" and smaller:
            raise UsageError(
                f"{recipe.name}: a side of {smaller[0]} is smaller than the window of {self.shape[0]} × "
                f"{self.shape[1]}; train_sizes and test_size must be at least as large."
            )

    @property
    def train_view(self) -> View:
        """The view that training takes of an image."""
        recipe = self.recipe
        if recipe.crop == "square":
            return views.central_square(recipe.train_sizes[0], self.shape[2])
        if recipe.crop == "scale":
            return views.random_scale(self.shape, recipe.train_sizes)
        return views.inception_crop(self.shape) if recipe.crop == "inception" else views.whole(self.shape)

    @property
    def test_view(self) -> View:
        """The view that testing takes of an image, of which `centre` or another window is used."""
        if self.recipe.crop == "none":
            return views.whole(self.shape)
        if self.recipe.test_views == "dense":
            return views.rescaled(self.recipe.test_size, self.shape[2])
        return views.central_square(self.recipe.test_size, self.shape[2])

    def training(self, images: tf.Tensor, rng: BatchRNG) -> tf.Tensor:
        """Training images (N, height, width, C), cropped, normalised and augmented with the random numbers of their
        rows."""
        recipe, noise = self.recipe, None
        if recipe.crop == "square":
            rng, windows = rng.split()
            images = views.random_window(images, self.shape[:2], windows.uniform(2))
        if recipe.rand_augment:
            rng, operations = rng.split()
            images = rand_augment(images, operations, recipe.rand_augment, recipe.rand_augment_magnitude)
        if recipe.colour_noise and self.shape[2] == 3:
            rng, colours = rng.split()
            noise = views.colour_noise(recipe.colour_noise * colours.normal(3))
        erasing = None
        if recipe.random_erasing:
            rng, erasing = rng.split()
        images = augment(self(images, noise), rng, recipe)
        return images if erasing is None else erase(images, erasing, recipe.random_erasing)

    def centre(self, images: tf.Tensor) -> tf.Tensor:
        """The central window (N, height, width, C) of test views, normalised."""
        return self(images if self.recipe.crop == "none" else views.window(images, self.shape[:2]))

    def served(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 (N, any, any, C) → the input of an export's model: the central window where windows are used.

        A model that is scored densely is served at the size that it was trained at.
        """
        if self.recipe.crop == "none":
            return self(views.resize(images, self.shape))
        return self.centre(views.resize_to_square(images, self.served_size[0]))

    @property
    def served_size(self) -> tuple[int, int]:
        """Height and width of an image that `served` need not resize."""
        if self.recipe.crop == "none":
            return self.shape[:2]
        side = self.recipe.train_sizes[0] if self.recipe.test_views == "dense" else self.recipe.test_size
        return side, side

    def __call__(self, images: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """With digits of one width, padded and normalised."""
        if width := self.recipe.digit_width:
            images = views.with_digit_width(images, width)
        if pad := self.recipe.pad:
            pixels = tf.cast(images, self.normalisation.dtype)  # LiteRT does not pad uint8
            images = tf.pad(pixels, [[0, 0], [pad, pad], [pad, pad], [0, 0]])
        return self.normalisation(images, noise)


def augment(images: tf.Tensor, rng: BatchRNG, recipe: ImageRecipe) -> tf.Tensor:
    """Random shifts and mirror images of normalised images (N, H, W, C); same shape.

    By default shifts fill with zeros, which is the mean where one is subtracted: He et al. 2016, section 4.2.
    """
    shift = recipe.random_shift
    if not shift and not recipe.random_flip:
        return images
    drawn = rng.uniform(3)
    mirrored = drawn[:, 2] < 0.5 if recipe.random_flip else None
    if recipe.alternating_flip:
        mirrored = rng.second_side
    size = tuple(images.shape[1:3])
    if recipe.shift_fill == "reflect":
        return views.random_window(views.reflected(images, shift), size, drawn[:, :2], mirrored)
    return views.random_window(images, size, drawn[:, :2], mirrored, margin=shift)


def erase(images: tf.Tensor, rng: BatchRNG, probability: float) -> tf.Tensor:
    """Images (N, H, W, C), of which each has with this probability a rectangle of normally distributed noise.

    Zhong et al. 2020, algorithm 1: area and aspect ratio are uniform, and so is the place. A side that would be longer
    than the image is cut to its length, where the paper draws again.
    """
    drawing, filling = rng.split()
    drawn = drawing.uniform(5)
    height, width, channels = images.shape[1:]
    area = (0.02 + (1 / 3 - 0.02) * drawn[:, 1]) * height * width
    aspect = 0.3 + (1 / 0.3 - 0.3) * drawn[:, 2]
    starts, ends = [], []
    for size, side, place in ((height, area * aspect, drawn[:, 3]), (width, area / aspect, drawn[:, 4])):
        length = tf.minimum(tf.round(tf.sqrt(side)), size)
        starts.append(tf.floor(place * (size - length + 1)))
        ends.append(starts[-1] + length)
    box = views.box(height, width, starts, ends) & (drawn[:, 0] < probability)[:, None, None]
    noise = tf.reshape(filling.normal(height * width * channels), (-1, height, width, channels))
    return tf.where(box[..., None], tf.cast(noise, images.dtype), images)


def image_shape(recipe: ImageRecipe, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """The size that images are resized to, before padding."""
    height, width, channels = recipe.model_args.get("input_shape") or input_shape
    shape = (height - 2 * recipe.pad, width - 2 * recipe.pad, channels)
    if min(shape) < 1:
        raise UsageError(f"{recipe.name}: pad={recipe.pad} leaves nothing of an input of {height} × {width}.")
    return shape


def load_data(
    recipe: ImageRecipe,
    preprocessing: Preprocessing,
    log: Callable[[str], None],
    *,
    evaluation: bool = False,
    scored_only: bool = False,
    given: Mapping[str, Any] | None = None,
) -> Splits[ImageSplit]:
    """The recipe's data set with the views of its preprocessing; the other arguments are as in `load_images`."""
    return load_images(
        recipe.dataset,
        preprocessing.train_view,
        preprocessing.test_view,
        seed=recipe.seed,
        validation_examples=0 if evaluation else recipe.validation_examples,
        validation_cut=recipe.validation_cut,
        skip_bad_images=recipe.skip_bad_images,
        evaluation=evaluation,
        scored_only=scored_only,
        log=log,
        given=given,
    )
