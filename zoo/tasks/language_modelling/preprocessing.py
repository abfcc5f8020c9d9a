"""The text of a language model's recipe."""

from collections import Counter
from collections.abc import Callable, Container
from itertools import chain

from zoo.data.splits import Splits, few
from zoo.data.text import Streams, load_text
from zoo.tasks.language_modelling.recipe import LanguageModelRecipe


def warn_of_unknown(data: Splits[Streams], known: Container[str], log: Callable[[str], None]) -> None:
    """Says how many characters of validation and test are not `known`: they are read and scored as one."""
    for name, streams in data.present.items():
        counts = Counter(chain.from_iterable(streams.rows)) if name != "train" else Counter()
        unknown = {character: count for character, count in counts.most_common() if character not in known}
        if unknown:
            shown = few([ascii(character) for character in unknown])
            log(
                f"warning: {sum(unknown.values()):,} of {counts.total():,} {name} characters are not in the vocabulary "
                f"({shown}), and count as one unknown character"
            )


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
