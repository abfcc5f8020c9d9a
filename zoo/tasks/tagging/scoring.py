"""The scores of a tagger, the same for a model in training and for an export."""

from collections.abc import Container, Sequence

import numpy as np

from zoo.data.sentences import Sentences

FEWEST = 100


def scores(
    split: Sentences, predicted: Sequence[Sequence[str]], known: Container[str], prefix: str
) -> dict[str, float]:
    """Accuracy over all tokens, and over those that are not `known`; names begin with `prefix`. The second is left out
    where it would be that of fewer than `FEWEST` tokens."""
    right, unseen = [], []
    for tokens, tags, guesses in zip(split.tokens, split.tags, predicted, strict=True):
        right += [tag == guess for tag, guess in zip(tags, guesses, strict=True)]
        unseen += [token not in known for token in tokens]
    results = {f"{prefix}_accuracy": float(np.mean(right))}
    if sum(unseen) >= FEWEST:
        results[f"{prefix}_unknown_word_accuracy"] = float(np.mean(np.array(right)[np.array(unseen)]))
    return results
