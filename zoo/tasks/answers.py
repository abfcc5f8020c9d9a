"""The answers of classifiers on a command line."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.data.splits import display_name
from zoo.errors import UsageError


def add_top_flag(parser: argparse.ArgumentParser) -> None:
    """Adds --top-k."""
    parser.add_argument("--top-k", type=int, default=1, metavar="K", help="print the K likeliest classes (1)")


def check_top(options: argparse.Namespace) -> None:
    """Raises `UsageError` for a --top-k below 1."""
    if options.top_k < 1:
        raise UsageError(f"--top-k is {options.top_k}; it must be at least 1.")


def class_answer(answer: Mapping[str, Any], labels: Sequence[str], top_k: int) -> dict[str, Any]:
    """The row of a classifier's signature, as NumPy values, as plain ones: `label`, `class` and `probability` (`score`
    for a perceptron), and if `top_k` is more than 1 as many of the likeliest classes as `top`."""
    value = "probability" if "probabilities" in answer else "score"
    scores, index = answer.get("probabilities", answer.get("scores")), int(answer["classes"])
    plain = {"label": answer["labels"].decode(), "class": index, value: float(scores[index])}
    if top_k > 1:
        order = np.argsort(-scores, kind="stable")[:top_k]
        plain["top"] = [{"label": labels[i], "class": int(i), value: float(scores[i])} for i in order]
    return plain


def format_classes(answer: Mapping[str, Any]) -> str:
    """An answer with its `file` as text."""

    def one(entry: Mapping[str, Any]) -> str:
        if "probability" in entry:
            return f"{display_name(entry['label'])} ({entry['probability']:.1%})"
        return f"{display_name(entry['label'])} (score {entry['score']:.4g})"

    return f"{answer['file']}: {', '.join(map(one, answer.get('top', [answer])))}"
