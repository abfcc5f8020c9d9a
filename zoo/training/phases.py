"""The phases of a training: which weights are frozen in each, and how deep each weight lies."""

from collections.abc import Collection, Sequence

import keras

from zoo.recipe import GradientRecipe
from zoo.training.optimizers import matching


class Freezing:
    """The weights of a net that stay fixed in a phase; at first none do.

    A layer whose weights are all frozen is set to `trainable=False` for that time, which for batch normalisation means
    inference mode: it uses its statistics and does not update them. Dropout stays active.
    """

    def __init__(self, net: keras.Model):
        self.trainable = tuple(net.trainable_variables)
        self.statistics = tuple(net.non_trainable_variables)
        self.frozen: frozenset[str] = frozenset()
        self._paths = [
            (layer, layer.trainable, {weight.path for weight in layer.trainable_weights or layer.weights})
            for layer in net.layers
            if layer.weights
        ]

    @property
    def trained(self) -> tuple[keras.Variable, ...]:
        """The weights that a step changes now."""
        return tuple(weight for weight in self.trainable if weight.path not in self.frozen)

    def switch(self, frozen: Collection[str]) -> None:
        """Starts a phase in which the weights of these paths stay fixed."""
        before, self.frozen = self.frozen, frozenset(frozen)
        for layer, trainable, paths in self._paths:
            if trainable and (paths <= self.frozen) != (paths <= before):
                layer.trainable = not paths <= self.frozen


def frozen_paths(recipe: GradientRecipe, net: keras.Model, head: Sequence[keras.layers.Layer]) -> set[str]:
    """The paths of the weights that are frozen in the first epochs: those that patterns name, or all but the head's."""
    if not recipe.frozen_epochs:
        return set()
    paths = [weight.path for weight in net.weights]
    if recipe.frozen:
        return set(matching(recipe.frozen, paths, "frozen"))
    return set(paths) - {weight.path for layer in head for weight in layer.weights}


def frozen_after(recipe: GradientRecipe, net: keras.Model, steps_per_epoch: int) -> dict[str, int]:
    """By path, the step from which each weight stays fixed that does not train to the end."""
    patterns = matching(recipe.frozen_after, [weight.path for weight in net.weights], "frozen_after")
    return {path: recipe.frozen_after[pattern] * steps_per_epoch for path, pattern in patterns.items()}


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
