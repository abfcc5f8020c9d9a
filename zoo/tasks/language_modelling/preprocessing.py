"""The text of a language model's recipe."""

from collections.abc import Callable

from zoo.data.splits import Splits
from zoo.data.text import Streams, load_text
from zoo.tasks.language_modelling.recipe import LanguageModelRecipe


def read_data(recipe: LanguageModelRecipe, log: Callable[[str], None], *, evaluation: bool = False) -> Splits[Streams]:
    """The recipe's text, split as it says; `evaluation` is that of `load_text`."""
    return load_text(
        recipe.dataset,
        split=recipe.split,
        streams=recipe.batch_size,
        sequence_length=recipe.sequence_length,
        evaluation=evaluation,
        log=log,
    )
