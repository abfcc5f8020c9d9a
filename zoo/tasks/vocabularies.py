"""Vocabularies that start from those of an export: its entries stay, those of the data are added. Words stay in their
places, so that a model of one's own has its vectors in the right ones."""

from collections.abc import Mapping, Sequence

from zoo.data.vocabulary import Characters, Words, WordsAndCharacters
from zoo.tasks.base import Task
from zoo.weights.parent import Rows

WORDS, CHARACTERS = ("encoder", "words", "table"), ("encoder", "characters", "table")


def known_words(task: Task, *table: str, marks: int = 0) -> list[str]:
    """The words of a table of the parent, without padding, unknown word and `marks`; none without a parent."""
    return task.parent.lines(*table)[2 + marks :] if task.parent else []


def encoder(task: Task, counts: Mapping[str, int], min_count: int) -> WordsAndCharacters:
    """The words and characters of a task's data and of its parent."""
    words = known_words(task, *WORDS)
    characters = task.parent.characters(*CHARACTERS) if task.parent else []
    if task.parent:
        common = {word for word, count in counts.items() if count >= min_count}
        added = len(common.difference(words))
        task.log(
            f"words: {len(words):,} of {task.parent.name}, and {added:,} new ones of the {len(common):,} in the data"
        )
    return WordsAndCharacters(counts, min_count, characters, first=words)


def encoder_rows(task: Task, encoder: WordsAndCharacters) -> dict[str, Rows]:
    """Where the parent's words and characters are in the embeddings of a model."""
    characters = character_rows(task.parent.characters(*CHARACTERS), encoder.characters)
    return {
        "word_embedding/embeddings": Rows(0, word_rows(task.parent.lines(*WORDS), encoder.words)),
        # 0 is padding there, so that every id is one higher.
        "embedding/embeddings": Rows(0, [0, *(index + 1 if index >= 0 else -1 for index in characters)]),
    }


def word_rows(lines: Sequence[str], words: Words) -> list[int]:
    """By id, the line of each word in the file of the parent's vocabulary; -1 for a new one."""
    old = {line: index for index, line in enumerate(lines)}
    return [old.get(line, -1) for line in words.ids]


def character_rows(old: Sequence[str], characters: Characters) -> list[int]:
    """By id, the parent's id of each character, the unknown one first; -1 for a new one."""
    ids = {character: index for index, character in enumerate(old, start=1)}
    return [0, *(ids.get(character, -1) for character in characters.characters)]
