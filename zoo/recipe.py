"""Recipes: everything that determines the result of a run, one frozen dataclass per task. Standard library only."""

import hashlib
import importlib.util
import itertools
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import ModuleType
from typing import Any, ClassVar, Literal

from zoo.errors import UsageError, nearest
from zoo.fields import ReadOnlyDict, check_fields
from zoo.shipped import shipped_folder

OWN_FILES = {  # the forms of `dataset` for a user's own files, by task
    "image_classification": "folder:PATH",
    "language_modelling": "text:PATH",
    "tagging": "conllu:PATH",
    "text_classification": "tsv:FILE",
    "translation": "tsv:FILE",
}
OWN_KINDS = {form.partition(":")[0] for form in OWN_FILES.values()}
NO_KINDS = {"csv", "dir", "directory", "file", "http", "https", "image", "images", "json", "jsonl", "path", "txt"}
NOT_ARGUMENTS = {  # of `zoo.build`, which are no arguments of a builder: what a recipe has instead
    "weights": "use zoo finetune",
    "pretrained": "use zoo finetune",
    "dtype": "use precision",
    "name": "omit it",
    "classifier_activation": "omit it: models are trained on logits, and exports give probabilities",
    "features": "omit it: exports have a signature for features",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of every run. Each task adds its own; each field is a flag of the same name.

    Raises `UsageError` for a value of the wrong type, out of its range, or not among the choices.
    """

    task: ClassVar[str]  # the task's name in `zoo.tasks.table`

    name: str
    """Name of the recipe, which is the name of its file."""
    model: str
    """Model name in the registry."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model's builder; on the command line --model.NAME."""
    dataset: str
    """A TFDS name, an embedded data set, or your own files; docs/data-formats.md lists the formats of each task."""
    seed: int = 0
    """Seed of initialisation, splits, example order, augmentation and dropout."""

    precision: Literal["auto", "float32", "float64", "bfloat16", "float16"] | None = None
    """Compute type in training. auto selects bfloat16 where the devices compute in it (a TPU, GPUs of compute
    capability 8.0 or more, a CPU with AVX-512 BF16 or AMX), else float32; None selects bfloat16 only on a TPU. With
    bfloat16 and float16 the weights, normalisation statistics, softmax and loss stay in float32, and the trained model
    is evaluated and exported in float32; float16 uses dynamic loss scaling."""
    deterministic: bool = False
    """Use deterministic operations, which are slower and which XLA does not compile. TensorFlow keeps them for the rest
    of the process."""

    paper: Mapping[str, float] = field(default_factory=dict)
    """Published results by metric, shown beside the measured ones."""

    def __post_init__(self) -> None:
        check_fields(self.name if isinstance(self.name, str) else "recipe", self)
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, Mapping):
                object.__setattr__(self, entry.name, ReadOnlyDict(value))
        self._require("seed", 0 <= self.seed < 2**32, "at least 0 and below 2**32")
        fit = re.fullmatch(r"[^./\\\0][^/\\\0]*", self.name) is not None
        self._require("name", fit, "the name of a folder, without slashes and not starting with a dot")
        for key, instead in NOT_ARGUMENTS.items():
            if key in self.model_args:
                raise UsageError(f"{self.name}: model_args has {key!r}, which a recipe does not take; {instead}.")
        for key, value in self.model_args.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise UsageError(
                    f"{self.name}: model_args[{key!r}] is {value!r}; it must be a text, a number, or a list or "
                    "dictionary of these, as recipes are stored as JSON."
                ) from error
        self._check_kind_of_data()

    def _check_kind_of_data(self) -> None:
        """Raises `UsageError` for no name, for files of another task's kind, and for files in another form."""
        here = OWN_FILES.get(self.task)
        if not here:
            return
        kind, sign, path = re.fullmatch(r"\s*(\w*)\s*([:=]?)\s*(.*)", self.dataset, re.DOTALL).groups()
        right, kind = here.partition(":")[0], kind.casefold()
        files = sign and (kind in OWN_KINDS | NO_KINDS or os.path.exists(path))
        if self.dataset.strip() and (not files or self.dataset.startswith(f"{right}:")):
            return
        instead = f"; write {right}:{path}" if kind == right else ""
        raise UsageError(f"{self.name}: dataset is {self.dataset!r}; own data for {self.task} is {here}{instead}.")

    def _require(self, key: str, holds: bool, expected: str) -> None:
        if not holds:
            value = getattr(self, key)
            shown = dict(value) if isinstance(value, Mapping) else value
            raise UsageError(f"{self.name}: {key} is {shown!r}; it must be {expected}.")

    @property
    def data(self) -> str:
        """The data set as a results table names it."""
        return self.dataset

    @property
    def call(self) -> str:
        """The model with the arguments that the recipe gives it, by name, written as a call."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in sorted(self.model_args.items()))
        return f"{self.model}({arguments})" if arguments else self.model

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return json.loads(json.dumps({"task": self.task, **plain}, default=dict))

    def at_default(self) -> list[str]:
        """The names of the fields that have their default."""
        defaults = {
            entry.name: entry.default if entry.default_factory is MISSING else entry.default_factory()
            for entry in fields(self)
        }
        return [name for name, value in defaults.items() if getattr(self, name) == value]

    def fingerprint(self) -> str:
        """Eight hex digits that change with any field. A new field at its default does not change them."""
        default = self.at_default()
        stated = {name: value for name, value in self.to_dict().items() if name not in default}
        return hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class GradientRecipe(Recipe):
    """The fields of runs that train by gradient descent."""

    preprocessing_fields: ClassVar[tuple[str, ...]] = ()  # what the weights expect of the inputs
    data_fields: ClassVar[tuple[str, ...]] = ()  # what belongs to one data set and not to another

    epochs: int | float
    """Passes over the training split; with a fraction, such as 9.9, the last one is shorter, and its steps are rounded
    up."""
    batch_size: int
    """Examples per step, over all devices. Batches are always full: an epoch's remainder starts the next epoch."""
    steps_per_epoch: int | None = None
    """Steps per epoch; None for the number of full batches in the training split."""
    limit_steps: int | None = None
    """Stop after this number of steps in total, for a quick test."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    """sgd (with momentum), adam, adamw (adam with decoupled weight decay) or rmsprop, with Keras's defaults for what
    has no field below."""
    learning_rate: float
    """Initial learning rate; the peak rate where a schedule warms up."""
    schedule: Literal["constant", "piecewise", "linear", "exponential", "cosine"] = "constant"
    """constant; piecewise: schedule_factors times the initial rate from each of schedule_epochs on; linear:
    schedule_factors times the learning rate at schedule_epochs, and linear between them; exponential: multiplied by
    schedule_factors[0] every schedule_epochs[0] epochs; cosine: decays to zero at the end."""
    schedule_epochs: tuple[float, ...] = ()
    """For piecewise: the epochs at which the rate changes. For linear: the epochs of at least two rates; before the
    first and after the last epoch the rate is constant. For exponential: one value, the epochs between changes."""
    schedule_factors: tuple[float, ...] = ()
    """For piecewise: the rate divided by the initial rate, from each of those epochs on. For linear: the rate at each
    of those epochs divided by learning_rate. For exponential: one value."""
    warmup_epochs: float = 0.0
    """For cosine: epochs of linear warm-up from zero."""
    momentum: float = 0.0
    """For sgd and rmsprop."""
    nesterov: bool = False
    """For sgd."""
    rho: float = 0.9
    """For rmsprop: decay of the moving average of squared gradients."""
    epsilon: float = 1e-7
    """For adam, adamw and rmsprop: added to the denominator (for rmsprop inside the square root)."""
    learning_rate_factors: Mapping[str, float] = field(default_factory=dict)
    """For sgd: patterns of weight paths ("*/bias") and the factor of the learning rate for those weights. Of several
    patterns that match a path, the first counts."""
    clip_norm: float | None = None
    """Clip gradients to this global norm."""
    clip_value: float | None = None
    """Clip gradient elements to ±clip_value."""
    weight_decay: float = 0.0
    """Coupled weight decay: this times the weight is added to its gradient. For adamw it is decoupled: in each step the
    learning rate times this times the weight is subtracted from it (Loshchilov & Hutter 2019)."""
    decayed_weights: tuple[str, ...] = ("*kernel",)
    """Patterns of the paths of the weights that decay; by default all kernels, but no biases or normalisation."""
    weight_decay_factors: Mapping[str, float] = field(default_factory=dict)
    """For coupled weight decay: patterns of weight paths and the factor of weight_decay for those weights."""

    weights: str | None = None
    """The export that training starts from: its path, its name or MODEL:TAG. None: from a fresh initialisation."""
    head: Literal["auto", "keep", "new"] = "auto"
    """With weights: keep the layer that scores the classes, or make a new one of the data's size. auto keeps it where
    the data has the export's classes."""
    frozen: tuple[str, ...] = ()
    """Patterns of the paths of the weights that stay fixed in the frozen epochs, with their batch normalisation in
    inference mode. Empty: all but the head."""
    frozen_epochs: int = 0
    """With weights: the first of the epochs, in which the frozen weights stay fixed. In the epochs after them all
    weights train at a tenth of the rate. Each of the two phases has its own warm-up and decay."""
    frozen_after: Mapping[str, int] = field(default_factory=dict)
    """Patterns of weight paths and the number of epochs after which those weights stay fixed, with their batch
    normalisation in inference mode."""
    depth_decay: float = 1.0
    """The rate of a weight is multiplied by this to the power of its depth: the number of layers with kernels between
    it and the output."""
    early_stopping: int | None = None
    """End after this number of epochs without a better value of the monitored validation metric; frozen epochs do not
    count."""

    keep: Literal["last", "best", "average"] = "last"
    """Weights to keep: last, best (on validation), or average (an exponential moving average)."""
    average_momentum: float = 0.999
    """For keep=average: decay of the moving average per step. It spans about 1/(1 - average_momentum) steps, so a
    short run needs a smaller value."""
    lookahead_steps: int = 0
    """Every this many steps a second set of weights and normalisation statistics is moved towards those in training,
    which then continue from it (Lookahead, Zhang et al. 2019); the second set is the result. 0: none."""
    lookahead_decay: float = 0.5
    """With lookahead_steps: the part of the second set that is kept each time."""
    lookahead_power: float = 0.0
    """With lookahead_steps: lookahead_decay is multiplied by this power of the step divided by the number of steps, so
    that with a positive power less is kept early in training."""

    accumulate_steps: int = 1
    """Process each device's part of a batch in this number of pieces and sum their gradients, for batches that do not
    fit into memory. The step is that of the whole batch, except for batch normalisation."""
    sync_batch_norm: bool = False
    """Compute batch normalisation statistics over the batches of all devices; otherwise each device uses its own."""

    jit_compile: bool | None = None
    """Compile the training step with XLA; None decides by device (one GPU: yes, CPU: no)."""
    steps_per_execution: int = 50
    """Maximum number of steps that run in the graph between two returns to Python."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs == int(self.epochs):
            object.__setattr__(self, "epochs", int(self.epochs))
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("epochs", not self.frozen_epochs or type(self.epochs) is int, "a whole number with frozen_epochs")
        self._require("batch_size", self.batch_size >= 1, "at least 1")
        self._require("learning_rate", self.learning_rate >= 0, "0 or more")
        self._require("steps_per_execution", self.steps_per_execution >= 1, "at least 1")
        self._require("average_momentum", 0 <= self.average_momentum < 1, "at least 0 and below 1")
        divides = self.accumulate_steps >= 1 and self.batch_size % self.accumulate_steps == 0
        self._require("accumulate_steps", divides, f"at least 1 and divide the batch of {self.batch_size}")
        self._require("limit_steps", self.limit_steps is None or self.limit_steps >= 1, "at least 1")
        self._require("steps_per_epoch", self.steps_per_epoch is None or self.steps_per_epoch >= 1, "at least 1")
        self._require("weight_decay", self.weight_decay >= 0, "0 or more")
        coupled = self.optimizer != "adamw" or not self.weight_decay_factors
        self._require("weight_decay_factors", coupled, "empty with adamw")
        for key in ("weight_decay_factors", "learning_rate_factors"):
            positive = all(factor >= 0 for factor in getattr(self, key).values())
            self._require(key, positive, "patterns with factors of 0 or more")
        whole = all(count >= 1 for count in self.frozen_after.values())
        self._require("frozen_after", whole, "patterns with whole numbers of epochs, at least 1")
        self._require("lookahead_steps", self.lookahead_steps >= 0, "0 or more")
        self._require("lookahead_decay", 0 <= self.lookahead_decay < 1, "at least 0 and below 1")
        self._require("lookahead_power", self.lookahead_power >= 0, "0 or more")
        self._require("keep", not self.lookahead_steps or self.keep == "last", "'last' with lookahead_steps")
        self._require("depth_decay", 0 < self.depth_decay <= 1, "above 0 and at most 1")
        self._require("early_stopping", self.early_stopping is None or self.early_stopping >= 1, "at least 1")
        self._require("frozen_epochs", 0 <= self.frozen_epochs <= self.epochs, f"from 0 to the {self.epochs} epochs")
        for key in ("frozen", "frozen_epochs"):
            self._require(key, self.weights is not None or not getattr(self, key), "left out without weights")
        self._require("head", self.weights is not None or self.head == "auto", "left out without weights")
        phases = not self.frozen_epochs or self.schedule in ("constant", "cosine")
        self._require("schedule", phases, "'constant' or 'cosine' with frozen_epochs")
        for key in ("clip_norm", "clip_value"):
            self._require(key, getattr(self, key) is None or getattr(self, key) > 0, "positive")
        self._require("clip_norm", self.clip_norm is None or self.clip_value is None, "None with a clip_value")
        self._require("momentum", 0 <= self.momentum < 1, "at least 0 and below 1")
        self._require("epsilon", self.epsilon > 0, "positive")
        self._require("rho", 0 <= self.rho < 1, "at least 0 and below 1")
        plain_sgd = self.optimizer == "sgd" and self.clip_norm is None and self.clip_value is None
        self._require("jit_compile", not (self.deterministic and self.jit_compile), "None or False with deterministic")
        only_sgd = not self.learning_rate_factors or plain_sgd
        self._require("learning_rate_factors", only_sgd, f"empty with {self.optimizer} or clipped gradients")
        self._check_schedule()

    def _check_schedule(self) -> None:
        if self.schedule == "exponential":
            self._require("schedule_epochs", len(self.schedule_epochs) == 1, "one value for an exponential schedule")
        if self.schedule == "linear":
            self._require("schedule_epochs", len(self.schedule_epochs) >= 2, "at least two values for linear")
        if self.schedule == "piecewise":
            self._require("schedule_epochs", len(self.schedule_epochs) >= 1, "at least one value for piecewise")
        if len(self.schedule_epochs) != len(self.schedule_factors):
            raise UsageError(
                f"{self.name}: schedule_epochs has {len(self.schedule_epochs)} values and schedule_factors "
                f"{len(self.schedule_factors)}; each change of the rate needs one of both."
            )
        rising = all(one < other for one, other in itertools.pairwise(self.schedule_epochs))
        self._require("schedule_epochs", rising, "in ascending order")
        if self.schedule == "linear":
            self._require("schedule_epochs", all(epoch >= 0 for epoch in self.schedule_epochs), "0 or more")
        else:
            self._require("schedule_epochs", all(epoch > 0 for epoch in self.schedule_epochs), "positive")
        self._require("schedule_factors", all(factor >= 0 for factor in self.schedule_factors), "0 or more")
        self._require("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, f"from 0 to the {self.epochs} epochs")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Steps of all epochs together, whatever `limit_steps` is."""
        return math.ceil(round(self.epochs * steps_per_epoch, 6))  # 1.1 · 50 is a little more than 55

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of a run: those of all epochs, or `limit_steps` where that is less."""
        total = self.total_steps(steps_per_epoch)
        return min(total, self.limit_steps or total)


def list_recipes() -> list[str]:
    """Names of the recipe scripts, sorted."""
    return sorted(path.stem for path in shipped_folder("recipes").glob("*.py"))


def load_script(name: str) -> ModuleType:
    """The module of a recipe script, imported from its file. Raises `UsageError` for an unknown name."""
    if name not in list_recipes():
        raise UsageError(f"There is no recipe {name!r}. {nearest(name, list_recipes())}")
    spec = importlib.util.spec_from_file_location(f"zoo_recipe_{name}", shipped_folder("recipes") / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_recipe(name: str) -> Recipe:
    """The recipe of a script, by its name."""
    return load_script(name).recipe
