"""The scores of a translator, the same for a model in training and for an export."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from zoo.data.pairs import Pairs
from zoo.data.progress import progress
from zoo.data.tokens import Tokenizer
from zoo.tasks.translation.recipe import TranslationRecipe

ROWS = 100  # texts per call
# Groups of test sentences by the number of tokens of their source, for BLEU by length (Bahdanau et al., figure 2).
LENGTHS = {"to_10_words": (1, 10), "11_to_15_words": (11, 15), "16_to_20_words": (16, 20), "over_20_words": (21, 10**9)}


def translate(signature: Callable, texts: Sequence[str], label: str) -> list[str]:
    """The translations of texts by a signature, computed in batches of similar lengths."""
    order = np.argsort([len(text) for text in texts], kind="stable")
    translations = [""] * len(texts)
    starts = range(0, len(texts), ROWS)
    for start in progress(starts, label, len(starts)):
        indices = order[start : start + ROWS]
        answer = signature(tf.constant([texts[i] for i in indices]))["translation"].numpy()
        for index, text in zip(indices, answer, strict=True):
            translations[index] = text.decode()
    return translations


def scores(recipe: TranslationRecipe, translations: Sequence[str], part: Pairs) -> tuple[dict[str, float], str]:
    """The score of translations, `bleu` or `exact_match`, and a description of how it is computed.

    BLEU is sacreBLEU's with its own tokenizer (13a) on the raw references. Both are case-insensitive where the recipe
    converts to lower case.
    """
    if recipe.unit == "characters":
        case = str.lower if recipe.lower_case else str
        right = [case(ours) == case(target) for ours, target in zip(translations, part.targets, strict=True)]
        return {"exact_match": float(np.mean(right))}, "exact match of whole texts"
    metric = _bleu(recipe)
    score = metric.corpus_score(translations, [part.targets]).score
    return {"bleu": score}, f"sacreBLEU {metric.get_signature()}"


def bleu_by_length(
    recipe: TranslationRecipe, translations: Sequence[str], part: Pairs, tokenizer: Tokenizer
) -> dict[str, float]:
    """BLEU of the texts of each group of `LENGTHS`."""
    lengths = tokenizer.split(tf.constant(part.sources)).row_lengths().numpy()
    results = {}
    for name, (least, most) in LENGTHS.items():
        indices = np.flatnonzero((lengths >= least) & (lengths <= most))
        if len(indices):
            ours, theirs = ([side[i] for i in indices] for side in (translations, part.targets))
            results[f"bleu_{name}"] = _bleu(recipe).corpus_score(ours, [theirs]).score
    return results


def _bleu(recipe: TranslationRecipe):
    from sacrebleu.metrics import BLEU

    return BLEU(tokenize="13a", lowercase=recipe.lower_case)
