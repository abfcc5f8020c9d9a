"""The two interfaces of a task, `Task` and `Predictor`. Imports neither TensorFlow nor Keras."""

import abc
import argparse
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from zoo.data.splits import Splits, difference
from zoo.errors import UsageError, ZooError, inner_error
from zoo.exports import read
from zoo.exports.portable import Portable
from zoo.paths import literal_path
from zoo.recipe import GradientRecipe, Recipe
from zoo.registry import Card
from zoo.tasks.table import recipe_from_dict
from zoo.weights.exports import output_layers
from zoo.weights.imagenet_parent import ImagenetParent, is_imagenet
from zoo.weights.parent import Parent, Rows

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from zoo.training.training import Training

Batch = Mapping[str, Any]
Log = Callable[[str], None]


class Task(abc.ABC):
    """The interface of a task; the engine uses nothing else of it.

    A batch is a dict. `batch["inputs"]` is what the model takes. `batch["mask"]`, which may be absent, is float32 with
    the rows on its first axis: 1 for what counts, 0 for padding. All other keys are the task's own. Every tensor of a
    batch has the rows on its first axis. Several devices share each batch by rows; in validation the engine pads a
    batch to a multiple of the devices by repeating its first row with a mask of 0 (and adds a mask of shape (rows,)
    where there is none). So `loss` and `update_metrics` must leave out what is masked.
    """

    Recipe: ClassVar[type[Recipe]]
    """The dataclass of the task's fields; its `task` is the task's name."""

    monitor: ClassVar[tuple[str, str]] = ("val_accuracy", "max")
    """The validation metric that decides which weights are best, and "max" or "min"."""

    takes_arrays: ClassVar[bool] = False
    """Whether `prepare` takes its data from `given`, where that is not None."""

    given: Mapping[str, Any] | None = None
    """The data that `zoo.run(recipe, data=…)` was called with."""

    def __init__(self, recipe: Recipe, card: Card, log: Log = print):
        self.recipe, self.card, self.log = recipe, card, log

    @classmethod
    def compatible(cls, card: Card) -> bool:
        """Whether the task can train the model of `card`."""
        return card.task == cls.Recipe.task

    @abc.abstractmethod
    def prepare(self) -> None:
        """Loads the data and learns vocabularies and statistics from the training split.

        Logs what it found in one line. Raises `UsageError` or `ZooError` for data that cannot be used.
        """

    @property
    def data_fingerprint(self) -> Mapping[str, Any]:
        """What identifies the data that `prepare` loaded, such as counts and a hash; a run resumes only on the same
        data. Empty by default, which is not checked."""
        return {}

    def find_fault(self, error: "tf.errors.OpError") -> ZooError | None:
        """What is wrong with the data where TensorFlow failed with `error` while it read batches; None for another
        reason. By default a `ZooError` that Python code in the graph raised."""
        return inner_error(error)

    def shorten(self, examples: int) -> None:
        """Leaves only the first `examples` of the validation and test splits, for a dry run. `prepare` has run."""
        return None

    @abc.abstractmethod
    def model_args(self) -> dict[str, Any]:
        """Arguments of the model's builder that the data decides. `prepare` has run."""

    @property
    @abc.abstractmethod
    def train_examples(self) -> int:
        """Number of training examples in an epoch."""

    @abc.abstractmethod
    def training_batches(self, first_step: int, rows: range | None = None) -> "tf.data.Dataset":
        """Endless batches from step `first_step` on, each full; a function of the recipe's seed and the step.

        With `rows`, only these rows of each batch: other workers train on the others.
        """

    @abc.abstractmethod
    def validation_batches(self) -> "tf.data.Dataset | None":
        """Batches of the validation split, every example once, with a known cardinality; None without the split."""

    @abc.abstractmethod
    def loss(self, batch: Batch, outputs: Any) -> "tuple[tf.Tensor, tf.Tensor]":
        """The summed loss of a batch, a float32 scalar (float64 in that precision), and what it is summed over.

        The second is the number of examples, tokens, pixels or boxes that are not masked; it must equal `count(batch)`.
        The engine divides by the total over all devices.
        """

    def count(self, batch: Batch) -> "tf.Tensor":
        """The number that `loss` sums over, before the model has run: by default the sum of the mask, or the rows."""
        import tensorflow as tf

        if "mask" in batch:
            return tf.reduce_sum(batch["mask"])
        return tf.cast(tf.shape(tf.nest.flatten(batch["inputs"])[0])[0], tf.float32)

    def metrics(self) -> "list[keras.metrics.Metric]":
        """New Keras metrics, one set for training and validation."""
        return []

    def update_metrics(self, metrics: "Sequence[keras.metrics.Metric]", batch: Batch, outputs: Any) -> None:
        """Updates the metrics that `metrics` returned with one batch."""
        return None

    def state(self, model: "keras.Model") -> dict[str, tuple[int, ...]]:
        """Names and shapes (without the rows) of the state that one step passes to the next; empty by default.

        The model takes the state as inputs and returns it as outputs of these names. Row i of a batch continues row i
        of the batch before it; all batches of a split have the same number of rows, which is static. Training carries
        the state on through all epochs, validation starts at zeros.
        """
        return {}

    @functools.cached_property
    def parent(self) -> Parent | None:
        """The export that the recipe's training starts from, checked to be of its model; None without."""
        recipe = self.recipe
        if not isinstance(recipe, GradientRecipe) or recipe.weights is None:
            return None
        parent = ImagenetParent(recipe.weights) if is_imagenet(recipe.weights) else Parent(recipe.weights)
        if parent.recipe.get("task") != recipe.task:
            raise UsageError(
                f"{recipe.name}: weights is {recipe.weights!r}, an export for {parent.recipe.get('task')}, and the "
                f"recipe trains {recipe.task}."
            )
        if parent.card["name"] != self.card.name:
            raise UsageError(
                f"{recipe.name}: weights is {recipe.weights!r}, which holds weights of {parent.card['name']!r}, not of "
                f"{self.card.name!r}; set model to {parent.card['name']!r}."
            )
        return parent

    def head(self, model: "keras.Model") -> "list[keras.layers.Layer]":
        """The layers that give the answers: by default, before each output, the last layer with weights."""
        return output_layers(model)

    def check_model(self, model: "keras.Model") -> None:
        """Raises `UsageError` for a model whose inputs or outputs do not fit the data; `prepare` has run."""
        return None

    def adapt(self, model: "keras.Model") -> None:
        """Sets the weights that are learned from the training data before training, by default none; `prepare` has
        run. It is called only where training starts from a fresh initialisation."""
        return None

    def new_weights(self, model: "keras.Model") -> "list[keras.Variable]":
        """The weights that `parent` does not have, by default none; `prepare` has run. They keep their fresh values."""
        return []

    def parent_rows(self, model: "keras.Model") -> Mapping[str, Rows]:
        """By weight path, where the entries of the parent's vocabularies are in the model's; by default none move."""
        return {}

    def load_parent(self, model: "keras.Model") -> None:
        """Gives the model the weights of `parent`, if there is one; `prepare` has run."""
        if self.parent:
            new = {weight.path for weight in self.new_weights(model)}
            unused = self.parent.load(model, new=new, rows=self.parent_rows(model))
            self.log(f"{model.name}: training starts from the weights of {self.parent.name}")
            if unused:
                more = f" and {len(unused) - 1:,} more" if len(unused) > 1 else ""
                self.log(f"warning: weights of {self.parent.name} that the model lacks: {unused[0]}{more}")
            self._warn_of_preprocessing()

    def _warn_of_preprocessing(self) -> None:
        """Names the fields of preprocessing that differ from those that the parent's weights were trained with."""
        here, there = self.recipe.to_dict(), self.parent.recipe
        differing = [
            key for key in self.recipe.preprocessing_fields if key in there and here[key] != _plain(there[key])
        ]
        if differing:
            values = "; ".join(f"{key} is {here[key]!r} here and {there[key]!r} there" for key in differing)
            self.log(f"warning: {self.parent.name} was trained with another preprocessing ({values})")

    def callbacks(self) -> "list[keras.callbacks.Callback]":
        """Keras callbacks of the task's own, for gradient descent."""
        return []

    def fit(self, run: "Training") -> None:
        """Trains `run.model`: by default gradient descent with Keras.

        A task with another rule overrides it. It first calls `run.restore()`, which returns whether the training is
        finished already, then trains, calls `run.record` for each row of metrics and `run.save` whenever its progress
        is worth keeping, and ends with `run.save(finished=True)`.
        """
        run.descend()

    def inference_model(self, model: "keras.Model") -> "keras.Model":
        """The part of a trained model that is evaluated and exported: by default all of it."""
        return model

    @abc.abstractmethod
    def evaluate(self, model: "keras.Model", folder: Path) -> dict[str, float]:
        """Metrics of the validation and test splits by name ("test_accuracy"). Files for people go to `folder`."""

    def pictures(self) -> dict[str, Callable[[Path], None]]:
        """Pictures of the last `evaluate` by file name, each a function that draws into a path.

        The engine draws them after the export is written; one that fails is a warning.
        """
        return {}

    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of the model's outputs, for the export's card; None without classes."""
        return None

    @abc.abstractmethod
    def serving(self, model: "keras.Model") -> "tf.Module":
        """The module that an export saves: `endpoints`, its signatures by name ("serving_default" among them), and
        `weights`, the model's variables in the order of `model.weights`."""

    @abc.abstractmethod
    def serving_examples(self) -> "dict[str, np.ndarray]":
        """Real requests to the default signature, by input name; an export must answer them like the model."""


class Predictor(abc.ABC):
    """Using an export of a task, without the code that trains it."""

    def __init__(self, export: Path):
        """`export` is a version folder, checked by `zoo.exports.read.find`."""
        self.export = export
        self.card = read.read_card(export)
        self.plain_recipe = read.read_recipe(export)

    @property
    def signatures(self) -> Mapping[str, Any]:
        """The export's signatures, loaded at the first use."""
        if not hasattr(self, "_loaded"):
            import tensorflow as tf

            self._loaded = tf.saved_model.load(str(literal_path(self.export)))
        return self._loaded.signatures

    @property
    def recipe(self) -> Recipe:
        """The recipe that the export was trained with."""
        return recipe_from_dict(self.plain_recipe)

    def recipe_on(self, dataset: str | None) -> Recipe:
        """The recipe with another data set, None for its own. Raises `UsageError` where that is none of its task."""
        return self.recipe if dataset is None else replace(self.recipe, dataset=dataset)

    @classmethod
    def add_flags(cls, parser: argparse.ArgumentParser) -> None:
        """Adds the task's flags of `zoo predict`."""
        return None

    @abc.abstractmethod
    def predict(self, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
        """The answers for the inputs of a command line, `options.files` and the flags of `add_flags`, one by one.

        An input that cannot be read yields `{"file": …, "error": …}`.
        """

    @abc.abstractmethod
    def format(self, answer: Mapping[str, Any]) -> str:
        """An answer of `predict` as text."""

    @abc.abstractmethod
    def evaluate(self, dataset: str | None = None, log: Log = print) -> dict[str, Any]:
        """Metrics of the export on a data set (None: the recipe's own), computed through its signatures.

        Raises `UsageError` if the data set does not fit the export.
        """

    def check_data(self, data: Splits[Any], dataset: str | None, log: Log) -> dict[str, str]:
        """Logs what was read for `evaluate(dataset, log)`, and checks that it is what the score is thought to be of.

        Returns the first entries of the results: `dataset`, and `data_changed` with what differs where the data have
        not been the same since the training, as a package may bring other data in another version; the card's metrics
        are not of these data then. Raises `ZooError` if the recipe's own files changed, where examples of the training
        split may be in the test split now. Warns where `dataset` is the data of the training.
        """
        log(data.description)
        known, own = self.card.get("data") or {}, ":" in self.plain_recipe["dataset"]
        results = {"dataset": data.name}
        if dataset is None and known and (changed := difference(known, data.fingerprint, "in training")):
            if own:
                raise ZooError(
                    f"The data that {self.export} was trained on changed ({changed}), so that its training examples "
                    "cannot be told from others. Restore it, or give other data with --dataset."
                )
            results["data_changed"] = changed
            log(
                f"warning: {data.name} changed since {self.export} was trained on it ({changed}), so that its card's "
                "metrics are of other data, and training examples may be in the test split"
            )
        same = _same_path(dataset, self.plain_recipe["dataset"]) or (
            known.get("sha256") == data.fingerprint.get("sha256")
        )
        if dataset is not None and own and same and data.train is None:
            log(
                f"warning: {data.name} is the data of the training, or was, and all of it is scored; without --dataset "
                "only its test split is"
            )
        return results

    def warn_of_training_examples(
        self,
        data: Splits[Any],
        load: Callable[[], Splits[Any]],
        repeated: Callable[[Mapping[str, Any]], Sequence[str]],
        log: Log,
    ) -> None:
        """Says what of the split that is scored is in the training split, where the recipe's own files are still as
        they were. `load` reads them, `repeated` has the warnings for some splits."""
        known = self.card.get("data") or {}
        if ":" not in self.plain_recipe["dataset"] or data.train is not None:
            return
        try:
            training = load()
        except ZooError:  # they are no longer there
            return
        if training.fingerprint.get("sha256") == known.get("sha256"):
            for line in repeated({"train": training.train, data.scored_name: data.scored}):
                log(f"warning: {line}")

    def portable(self) -> Portable:
        """The part of the export that ONNX and LiteRT have operations for. By default there is none: `ZooError`."""
        raise ZooError(
            f"{self.export} is an export for {self.card['task']}; its strings, tables and loops have no operations in "
            "ONNX and LiteRT. Use the SavedModel."
        )


def _same_path(one: str | None, other: str) -> bool:
    """Whether two data sets, such as "folder:PATH", are the same files."""
    (kind, _, path), (other_kind, _, other_path) = (dataset.partition(":") for dataset in (one or "", other))
    return kind == other_kind and os.path.realpath(path) == os.path.realpath(other_path)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
