"""The recipe of tagging. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar

from zoo.recipe import GradientRecipe


@dataclass(frozen=True, kw_only=True)
class TaggingRecipe(GradientRecipe):
    """A recipe of tagging the tokens of sentences."""

    task: ClassVar[str] = "tagging"

    min_count: int = 1
    """Words with fewer occurrences in the training split are unknown."""
    word_dropout: float = 0.0
    """In training a word with n occurrences is replaced by the unknown word with probability a/(a + n), where a is this
    value (Kiperwasser & Goldberg 2016, section 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("min_count", self.min_count >= 1, "at least 1")
        self._require("word_dropout", self.word_dropout >= 0, "0 or more")
