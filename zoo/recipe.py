"""Recipes: everything that decides the outcome of a run, one flat frozen dataclass a task. Standard library only."""

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Literal

from zoo.errors import UsageError, nearest
from zoo.shipped import shipped_folder


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every run has. Each task adds its own fields; each field is a flag of its name."""

    task: ClassVar[str]  # the dotted name of the class in zoo.tasks that trains it

    name: str
    """The recipe's own name, that of its file."""
    model: str
    """The model, by its name in the registry."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the model's builder; on the command line --model.NAME."""
    dataset: str
    """A TFDS name, an embedded set ("digits") or the user's own ("folder:PATH")."""
    seed: int = 0
    """Decides initialisation, the cut of the splits, the order of examples, augmentation and dropout."""

    epochs: int
    """Passes over the training split."""
    batch_size: int
    """Examples a step. Batches are always full: an epoch's remainder opens the next epoch."""
    steps_per_epoch: int | None = None
    """Steps a pass; None for as many as the split has full batches."""
    limit_steps: int | None = None
    """Stop after so many steps in all: a smoke test."""

    optimizer: Literal["sgd", "adam", "rmsprop"] = "sgd"
    """sgd (with momentum), adam or rmsprop, with Keras's constants but for those below."""
    learning_rate: float
    """The rate at the start, or at the peak where a schedule warms up."""
    schedule: Literal["constant", "piecewise", "exponential", "cosine"] = "constant"
    """constant; piecewise: schedule_factors times the first rate from schedule_epochs on; exponential: times
    schedule_factors[0] every schedule_epochs[0] epochs; cosine: to zero at the end."""
    schedule_epochs: tuple[float, ...] = ()
    """For piecewise: the epochs at which the rate changes. For exponential: one value, the epochs between changes."""
    schedule_factors: tuple[float, ...] = ()
    """For piecewise: the rate over the first rate from each of those epochs on. For exponential: one value."""
    warmup_epochs: float = 0.0
    """For cosine: epochs of linear warm-up from zero."""
    momentum: float = 0.0
    """For sgd and rmsprop."""
    nesterov: bool = False
    """For sgd."""
    rho: float = 0.9
    """For rmsprop: the share of the old mean square that a step keeps."""
    epsilon: float = 1e-7
    """For adam and rmsprop: what is added to the denominator (for rmsprop under the root)."""
    learning_rate_factors: Mapping[str, float] = field(default_factory=dict)
    """For sgd: patterns of weights' paths ("*/bias") and what the rate is multiplied by for them."""
    clip_norm: float | None = None
    """Gradients are scaled down where the norm of all of them together is above this."""
    clip_value: float | None = None
    """Every number of a gradient is held between this and its negative."""
    weight_decay: float = 0.0
    """Coupled weight decay: this times the weight is added to its gradient."""
    decayed_weights: tuple[str, ...] = ("*kernel",)
    """Patterns of the paths of the weights that decay: by default all kernels, and no bias or normalisation."""

    keep: Literal["last", "best", "average"] = "last"
    """Which weights count: the last, those best on validation, or the moving average of all."""
    average_momentum: float = 0.999
    """For keep=average: the share of the old average a step keeps."""

    accumulate_steps: int = 1
    """A device works through its share of a batch in so many parts, one after the other, and then makes one step: for
    batches that do not fit into memory. The step is that of the whole batch, batch normalisation excepted."""
    sync_batch_norm: bool = False
    """Batch normalisation over the batches of all devices together; otherwise each normalises its own."""

    precision: Literal["float32", "float64", "bfloat16", "float16"] | None = None
    """What the net computes in; None for bfloat16 on a TPU and float32 elsewhere. With bfloat16 and float16 the
    weights, the statistics of normalisation, the softmax and the loss stay in float32; with float16 the loss is scaled
    so that small gradients do not vanish."""
    jit_compile: bool | None = None
    """Compile the train step with XLA; None to choose by device (one GPU: yes, a CPU: no)."""
    steps_per_execution: int = 50
    """At most so many steps stay in the graph between two returns to Python."""
    deterministic: bool = False
    """Make every operation repeatable to the bit, at some cost in speed."""

    paper: Mapping[str, float] = field(default_factory=dict)
    """The published results, by metric, to stand beside the measured ones."""

    def __post_init__(self) -> None:
        for key in ("model_args", "learning_rate_factors", "paper"):
            object.__setattr__(self, key, MappingProxyType(dict(getattr(self, key))))
        self._require("epochs", self.epochs >= 1, "at least 1")
        self._require("batch_size", self.batch_size >= 1, "at least 1")
        self._require("learning_rate", self.learning_rate >= 0, "0 or more")
        self._require("steps_per_execution", self.steps_per_execution >= 1, "at least 1")
        self._require("average_momentum", 0 <= self.average_momentum < 1, "at least 0 and below 1")
        divides = self.accumulate_steps >= 1 and self.batch_size % self.accumulate_steps == 0
        self._require("accumulate_steps", divides, f"at least 1 and divide the batch of {self.batch_size}")
        self._require("limit_steps", self.limit_steps is None or self.limit_steps >= 1, "at least 1")
        self._require("steps_per_epoch", self.steps_per_epoch is None or self.steps_per_epoch >= 1, "at least 1")
        self._require("weight_decay", self.weight_decay >= 0, "0 or more")
        for key in ("clip_norm", "clip_value"):
            self._require(key, getattr(self, key) is None or getattr(self, key) > 0, "positive")
        self._require("clip_norm", self.clip_norm is None or self.clip_value is None, "None with a clip_value")
        self._require("momentum", 0 <= self.momentum < 1, "at least 0 and below 1")
        self._require("epsilon", self.epsilon > 0, "positive")
        self._require("rho", 0 <= self.rho < 1, "at least 0 and below 1")
        plain_sgd = self.optimizer == "sgd" and self.clip_norm is None and self.clip_value is None
        only_sgd = not self.learning_rate_factors or plain_sgd
        self._require("learning_rate_factors", only_sgd, f"empty with {self.optimizer} or clipped gradients")
        if self.schedule == "exponential":
            self._require("schedule_epochs", len(self.schedule_epochs) == 1, "one value for an exponential schedule")
        if len(self.schedule_epochs) != len(self.schedule_factors):
            raise UsageError(
                f"{self.name}: schedule_epochs has {len(self.schedule_epochs)} values and schedule_factors "
                f"{len(self.schedule_factors)}; each change of the rate needs one of both."
            )

    def _require(self, key: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UsageError(f"{self.name}: {key} is {getattr(self, key)!r}; it must be {expected}.")

    @property
    def data(self) -> str:
        """The data in the words of a table of results."""
        return self.dataset

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, for JSON."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return json.loads(json.dumps({"task": self.task, **plain}, default=dict))

    def fingerprint(self) -> str:
        """Eight hex digits that change with any field."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True, kw_only=True)
class ImageRecipe(Recipe):
    """A recipe of image classification."""

    task: ClassVar[str] = "zoo.tasks.classification:ImageClassification"

    loss: Literal["cross_entropy", "sigmoid_cross_entropy", "perceptron", "rbf_map"] = "cross_entropy"
    """cross_entropy: softmax over the logits; sigmoid_cross_entropy: one binary problem a class, summed;
    perceptron: Rosenblatt's criterion; rbf_map: LeCun's maximum a posteriori criterion for LeNet-5."""
    label_smoothing: float = 0.0
    """For cross_entropy: the share of the target that is spread evenly over all classes."""
    aux_weight: float = 0.3
    """What the loss of each auxiliary head counts, where the model has them (model_args of aux_heads=True)."""
    validation_examples: int = 0
    """Cut from the training split where the data set has no validation split of its own."""
    validation_cut: Literal["random", "end"] = "random"
    """random: drawn by the seed; end: the last ones in the order in which the data set's authors published it."""
    crop: Literal["none", "square", "scale", "inception"] = "none"
    """How an image becomes the model's input in training. none: resized as a whole; square: its shorter side brought to
    train_sizes[0], then a random window of the central square; scale: its shorter side brought to a size drawn from
    train_sizes, then a random window; inception: a random window of 8 to 100 % of its area with an aspect ratio of 3/4
    to 4/3, resized."""
    train_sizes: tuple[int, ...] = (256,)
    """For square and scale: the shorter side in pixels; one value, or the least and the greatest."""
    test_size: int = 256
    """For all but none: the shorter side in testing and serving, where the window is the central one."""
    test_views: Literal["centre", "ten_crops", "dense"] = "centre"
    """What a test image's score is: centre: that of the central window (the whole image for crop=none); ten_crops: the
    mean probability over centre, corners and their mirror images; dense: the mean over all places of the net slid over
    the whole image of shorter side test_size, and over its mirror image. An export answers for the central window."""
    normalisation: Literal["constants", "mean_image", "per_image", "gcn_zca"] = "constants"
    """constants: pixel_mean and pixel_std; mean_image: the training images' mean is subtracted pixel by pixel, then
    divided by pixel_std; per_image: each image to mean 0 and variance 1; gcn_zca: global contrast normalisation and ZCA
    whitening, as for Maxout networks."""
    pixel_mean: tuple[float, ...] = (0.0,)
    """Subtracted from the pixels, which run from 0 to 255; one value, or one a channel."""
    pixel_std: tuple[float, ...] = (255.0,)
    """What the pixels are then divided by; one value, or one a channel."""
    pad: int = 0
    """Pixels of background (black) added on each side after resizing, so that 28 × 28 digits fill 32 × 32."""
    random_shift: int = 0
    """Training images are moved by up to so many pixels either way, filled with zeros after the mean is subtracted."""
    random_flip: bool = False
    """Training images are mirrored left to right half of the time."""
    colour_noise: float = 0.0
    """The deviation of the weights with which the principal components of ImageNet's colours are added to training
    images; 0.1 in Krizhevsky et al. 2012, section 4.1."""
    skip_bad_images: bool = False
    """For folder: leave out files that cannot be decoded, where otherwise the run stops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("validation_examples", self.validation_examples >= 0, "0 or more")
        self._require("pad", self.pad >= 0, "0 or more")
        self._require("random_shift", self.random_shift >= 0, "0 or more")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1")
        self._require("aux_weight", self.aux_weight >= 0, "0 or more")
        self._require("colour_noise", self.colour_noise >= 0, "0 or more")
        sizes = self.train_sizes
        self._require(
            "train_sizes",
            0 < len(sizes) <= 2 and sizes[0] >= 1 and list(sizes) == sorted(sizes),
            "one size in pixels, or the least and the greatest",
        )
        self._require("test_size", self.test_size >= 1, "at least 1")
        views = self.test_views == "centre" or self.crop != "none"
        self._require("test_views", views, "'centre' with crop='none', which has no larger image to take windows of")
        padded = not self.pad or self.crop == "none"
        self._require("pad", padded, "0 with a crop")
        self._require("pixel_std", all(value > 0 for value in self.pixel_std), "positive")


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecipe(Recipe):
    """A recipe of language modelling by characters.

    `batch_size` is the number of streams that the text is read in side by side.
    """

    task: ClassVar[str] = "zoo.tasks.language_modelling:LanguageModelling"

    sequence_length: int = 50
    """Characters that a step reads of each stream, and that gradients go back."""
    split: Literal["char_rnn", "tfds", "nanogpt"] = "tfds"
    """char_rnn: the last 5 % of every stream for validation; tfds: the last tenth of the text, halved, for validation
    and test; nanogpt: the last tenth for validation."""
    sum_over_time: bool = False
    """The loss of a stream is the sum over its characters, not their mean: what gradients are clipped at depends on
    it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("sequence_length", self.sequence_length >= 1, "at least 1")

    @property
    def data(self) -> str:
        return f"{self.dataset} ({self.split} split)"


@dataclass(frozen=True, kw_only=True)
class TaggingRecipe(Recipe):
    """A recipe of tagging the tokens of sentences."""

    task: ClassVar[str] = "zoo.tasks.tagging:Tagging"

    least_count: int = 1
    """Words that training sees less often than this are unknown."""
    word_dropout: float = 0.0
    """In training a word that occurs n times is taken for unknown with the chance a/(a + n), a being this (Kiperwasser
    & Goldberg 2016, section 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("least_count", self.least_count >= 1, "at least 1")
        self._require("word_dropout", self.word_dropout >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TextRecipe(Recipe):
    """A recipe of classifying texts."""

    task: ClassVar[str] = "zoo.tasks.text_classification:TextClassification"

    lower_case: bool = False
    """Read small letters only."""
    least_count: int = 1
    """Words that training sees less often than this are unknown."""
    word_dropout: float = 0.0
    """In training a word that occurs n times is taken for unknown with the chance a/(a + n), a being this."""
    longest: int = 400
    """Words of a text that are read; what comes after them is not."""
    validation_examples: int = 0
    """Cut from the training split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("least_count", self.least_count >= 1, "at least 1")
        self._require("word_dropout", self.word_dropout >= 0, "0 or more")
        self._require("longest", self.longest >= 1, "at least 1")
        self._require("validation_examples", self.validation_examples >= 0, "0 or more")


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe(Recipe):
    """A recipe of translating texts."""

    task: ClassVar[str] = "zoo.tasks.translation:Translation"

    unit: Literal["words", "characters"] = "words"
    """What a text is cut into. Words are scored by BLEU, characters by the share of texts that are right as a whole."""
    lower_case: bool = False
    """Read and write small letters only; BLEU then does not look at case."""
    least_count: int = 1
    """Words that training sees less often than this are unknown."""
    longest: int = 50
    """Pairs with more tokens than this on either side are left out of training."""
    label_smoothing: float = 0.0
    """The share of the target that is spread evenly over the vocabulary."""
    beam_width: int = 5
    """How many translations of a text the beam signature follows side by side."""
    length_normalisation: float = 1.0
    """Translations are compared by their log-probability over their length to this power."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("least_count", self.least_count >= 1, "at least 1")
        self._require("longest", self.longest >= 1, "at least 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1")
        self._require("beam_width", self.beam_width >= 1, "at least 1")
        self._require("length_normalisation", self.length_normalisation >= 0, "0 or more")


def from_dict(plain: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_dict` made plain."""
    kinds = [kind for kind in Recipe.__subclasses__() if kind.task == plain["task"]]
    if not kinds:
        raise UsageError(f"There is no task {plain['task']!r} here; the export is of a newer version.")
    names = {entry.name for entry in fields(kinds[0])}
    return kinds[0](**{key: _with_tuples(value) for key, value in plain.items() if key in names})


def _with_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_tuples(part) for key, part in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


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
