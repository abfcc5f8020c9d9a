"""The recipe of translation. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from zoo.recipe import GradientRecipe


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe(GradientRecipe):
    """A recipe of translating texts."""

    task: ClassVar[str] = "translation"
    preprocessing_fields: ClassVar[tuple[str, ...]] = ("unit", "lower_case")

    unit: Literal["words", "characters"] = "words"
    """The tokens of a text. With words the score is BLEU, with characters the share of texts that are entirely
    right."""
    lower_case: bool = False
    """Convert both sides to lower case; BLEU is then case-insensitive."""
    min_count: int = 1
    """Words with fewer occurrences in the training split are unknown."""
    max_length: int = 50
    """Training leaves out pairs with more tokens than this on either side."""
    label_smoothing: float = 0.0
    """The part of the target that is spread evenly over the vocabulary."""
    beam_width: int = 5
    """Number of hypotheses in the beam signature."""
    length_normalisation: float = 1.0
    """Hypotheses are ranked by log-probability divided by length to this power."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("min_count", self.min_count >= 1, "at least 1")
        self._require("max_length", self.max_length >= 1, "at least 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1")
        self._require("beam_width", self.beam_width >= 1, "at least 1")
        self._require("length_normalisation", self.length_normalisation >= 0, "0 or more")
