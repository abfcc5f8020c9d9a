"""Rosenblatt's perceptron."""

import keras
from keras import layers


def perceptron(
    *,
    input_shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    include_top: bool = True,
    name: str = "perceptron",
) -> keras.Model:
    """Threshold units side by side, one against the rest, on every pixel (Rosenblatt 1958).

    Images (N, height, width, channels) → scores (N, num_classes). A unit fires where its score is positive; among
    several units the largest score decides. Both are the task's business. Weights start at zero, so that the learning
    rate only scales them. One class alone (`num_classes=1`) is Rosenblatt's single unit.

    Differences from the paper: its sensory points reach the unit through fixed random association units; here, as in
    every textbook since Minsky and Papert, the pixels themselves are the unit's inputs.
    """
    images = keras.Input(input_shape, name="images")
    x = layers.Flatten(name="retina")(images)  # (N, H·W·C)
    if include_top:
        x = layers.Dense(num_classes, kernel_initializer="zeros", name="units")(x)  # (N, num_classes)
    return keras.Model(images, x, name=name)
