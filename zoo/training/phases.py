"""The two phases of a training that starts from an export: which weights are frozen, and how deep each lies."""

from collections.abc import Collection, Sequence

import keras

from zoo.recipe import GradientRecipe
from zoo.training.optimizers import matching


class Freezing:
    """The weights of a net that stay fixed in the first phase.

    A layer whose weights are all frozen is set to `trainable=False` for that time, which for batch normalisation means
    inference mode: it uses its statistics and does not update them. Dropout stays active.
    """

    def __init__(self, net: keras.Model, frozen: Collection[str]):
        self.trainable = tuple(net.trainable_variables)
        self.statistics = tuple(net.non_trainable_variables)
        self.on = False
        self._unfrozen = tuple(weight for weight in self.trainable if weight.path not in frozen)
        self._layers = tuple(
            layer
            for layer in net.layers
            if layer.weights and all(w.path in frozen for w in layer.trainable_weights or layer.weights)
        )

    @property
    def trained(self) -> tuple[keras.Variable, ...]:
        """The weights that a step changes now."""
        return self._unfrozen if self.on else self.trainable

    def switch(self, on: bool) -> None:
        """Starts or ends the first phase."""
        self.on = on
        for layer in self._layers:
            layer.trainable = not on


def frozen_paths(recipe: GradientRecipe, net: keras.Model, head: Sequence[keras.layers.Layer]) -> set[str]:
    """The paths of the weights that the recipe freezes: those that its patterns name, or all but the head's."""
    if not recipe.frozen_epochs:
        return set()
    paths = [weight.path for weight in net.weights]
    if recipe.frozen:
        return set(matching(recipe.frozen, paths, "frozen"))
    return set(paths) - {weight.path for layer in head for weight in layer.weights}


def depths(net: keras.Model) -> dict[str, int]:
    """The depth of each trainable weight by its path: the largest number of layers with kernels, or of embeddings,
    between its layer and an output. The last layer's is 0."""
    after: dict[int, int] = {}  # by tensor
    found: dict[str, int] = {}
    for operation in reversed(net.operations):
        depth = max((after.get(id(tensor), 0) for tensor in keras.tree.flatten(operation.output)), default=0)
        weights = operation.trainable_weights if isinstance(operation, keras.layers.Layer) else []
        found |= {weight.path: depth for weight in weights}
        below = depth + any(len(weight.shape) > 1 for weight in weights)
        for tensor in keras.tree.flatten(operation.input):
            after[id(tensor)] = max(after.get(id(tensor), 0), below)
    return found
