"""The scores of a classifier, the same for a model in training and for an export."""

import numpy as np


def scores(labels: np.ndarray, outputs: np.ndarray, prefix: str) -> dict[str, float]:
    """Accuracy, and for 100 classes or more top-5 accuracy: labels (N,), outputs (N, K) that are larger for likelier
    classes; names begin with `prefix`."""
    results = {f"{prefix}_accuracy": float(np.mean(outputs.argmax(-1) == labels))}
    if outputs.shape[1] >= 100:
        five = np.argpartition(outputs, -5)[:, -5:]
        results[f"{prefix}_top5_accuracy"] = float(np.mean((five == labels[:, None]).any(-1)))
    return results
