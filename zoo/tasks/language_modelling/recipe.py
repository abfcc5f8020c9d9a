"""The recipe of language modelling. Standard library only."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from zoo.recipe import GradientRecipe


@dataclass(frozen=True, kw_only=True)
class LanguageModelRecipe(GradientRecipe):
    """A recipe of language modelling by characters.

    `batch_size` is the number of parallel streams that the text is read in.
    """

    task: ClassVar[str] = "language_modelling"

    sequence_length: int = 50
    """Characters of each stream per step, which is also how far gradients are propagated back."""
    split: Literal["char_rnn", "tfds", "nanogpt"] = "tfds"
    """char_rnn: the last 5 % of every stream for validation; tfds: the last tenth of the text, one half for validation
    and one for test; nanogpt: the last tenth for validation."""
    sum_over_time: bool = False
    """Sum the loss over the characters of a stream instead of averaging it. Gradient clipping depends on it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("sequence_length", self.sequence_length >= 1, "at least 1")

    @property
    def data(self) -> str:
        return f"{self.dataset} ({self.split} split)"
