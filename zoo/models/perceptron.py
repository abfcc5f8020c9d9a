"""The perceptron (Rosenblatt 1958)."""

import keras
from keras import layers

from zoo.models.common import channels_last, check_images


@channels_last
def perceptron(
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    include_top: bool = True,
    name: str = "perceptron",
) -> keras.Model:
    """Threshold units on all pixels, one per class, each trained as one against the rest (Rosenblatt 1958).

    Images (N, height, width, channels) → scores (N, num_classes), or with `include_top=False` the pixels (N, height ·
    width · channels). A unit is active where its score is positive; among several units the largest score decides.
    The graph returns scores; thresholding is part of the task. Weights are initialised to zero, so that the learning
    rate only scales them. `num_classes=1` is Rosenblatt's single unit.

    Raises `UsageError` for an unknown height or width.

    Differences from the paper: its sensory points are connected to the unit through fixed random association units;
    here, as in textbooks since Minsky and Papert, the pixels are the inputs of the unit.
    """
    check_images(name, input_shape, smallest=1, fixed=True)
    images = keras.Input(input_shape, name="images")
    x = layers.Flatten(name="retina")(images)  # (N, H·W·C)
    if include_top:
        x = layers.Dense(num_classes, kernel_initializer="zeros", name="units")(x)  # (N, num_classes)
    return keras.Model(images, x, name=name)
