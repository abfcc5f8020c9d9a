"""The ImageNet weights of Keras Applications as the start of a training."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.registry import APPLICATIONS, Card, describe
from zoo.weights.parent import Parent, Rows

if TYPE_CHECKING:
    import keras

# What Keras's weights expect: VGG and ResNet take B, G, R less these means, the others R, G, B from −1 to 1.
MEANS = (123.68, 116.779, 103.939)  # of R, G, B


def is_imagenet(reference: str) -> bool:
    """Whether a reference is MODEL:TAG of weights that Keras Applications publishes, and not a path."""
    name, _, tag = str(reference).partition(":")
    if not tag or not name.isidentifier() or Path(reference).exists():
        return False
    return describe(name).weights.get(tag) == APPLICATIONS


class ImagenetParent(Parent):
    """The ImageNet weights of a model, which are downloaded when they are loaded."""

    def __init__(self, reference: str):
        """`reference` is MODEL:TAG, for which `is_imagenet` holds."""
        name, _, tag = reference.partition(":")
        card: Card = describe(name)
        self.name = f"{card.name}:{tag}"
        self.card = {"name": card.name, "labels": None, "arguments_built": dict(card.arguments)}
        self.recipe = imagenet_recipe(card)

    def origin(self) -> dict[str, Any]:
        return {"name": self.name, "version": None, "model": self.card["name"], "sha256": None, "licence": None}

    def load(
        self, model: "keras.Model", *, new: Collection[str] = (), rows: Mapping[str, Rows] | None = None
    ) -> list[str]:
        from zoo.weights.keras_applications import load_imagenet

        fresh = {weight.path: weight.numpy() for weight in model.weights if weight.path in new}
        load_imagenet(model, self.card["name"])
        for weight in model.weights:
            if weight.path in fresh:  # also where the data has 1,000 classes
                weight.assign(fresh[weight.path])
        if takes_bgr(self.card["name"]):
            reverse_colours(model)
        return []


def takes_bgr(model: str) -> bool:
    """Whether Keras's weights of a model take blue first."""
    return model.startswith(("vgg", "resnet"))


def reverse_colours(model: "keras.Model") -> None:
    """Reverses the colour axis of the first kernel, so that a model for B, G, R takes R, G, B."""
    first = next(layer for layer in model.layers if layer.weights)
    kernel = first.kernel
    kernel.assign(kernel.numpy()[:, :, ::-1])


def imagenet_recipe(card: Card) -> dict[str, Any]:
    """The plain recipe that fine-tuning takes preprocessing and augmentation from."""
    scale = {"pixel_mean": MEANS, "pixel_std": (1.0,)} if takes_bgr(card.name) else {}
    return {
        "task": "image_classification",
        "name": f"{card.name}_imagenet",
        "model": card.name,
        "model_args": {"activation": "relu6"} if card.name == "mobilenet" else {},
        "dataset": "imagenet2012",
        "normalisation": "constants",
        "pixel_mean": (127.5,),
        "pixel_std": (127.5,),
        "random_flip": True,
        **scale,
    }
