"""The recipe of text classification. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from zoo.recipe import GradientRecipe


@dataclass(frozen=True, kw_only=True)
class TextClassificationRecipe(GradientRecipe):
    """A recipe of classifying texts."""

    task: ClassVar[str] = "text_classification"
    preprocessing_fields: ClassVar[tuple[str, ...]] = ("lower_case", "max_length")
    data_fields: ClassVar[tuple[str, ...]] = ("validation_examples", "class_weights")

    lower_case: bool = False
    """Convert texts to lower case."""
    min_count: int = 1
    """Words with fewer occurrences in the training split are unknown."""
    word_dropout: float = 0.0
    """In training a word with n occurrences is replaced by the unknown word with probability a/(a + n), where a is this
    value."""
    max_length: int = 400
    """Number of words of a text that are read; the rest is ignored."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: a text counts in the loss in inverse proportion to the size of its class."""
    validation_examples: int = 0
    """Number of training examples held out for validation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("min_count", self.min_count >= 1, "at least 1")
        self._require("word_dropout", self.word_dropout >= 0, "0 or more")
        self._require("max_length", self.max_length >= 1, "at least 1")
        self._require("validation_examples", self.validation_examples >= 0, "0 or more")
