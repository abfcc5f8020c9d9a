"""Loads an export in a new process and compares its outputs with those of the trained model.

Run as a script: `check_script.py EXPORT ANSWERS.npz`. It imports TensorFlow and nothing of the zoo. ANSWERS.npz holds
the request as `in:NAME` and the expected answer as `out:NAME`. Prints the largest difference; exits with 1 where
shapes, strings or whole numbers differ, or others by more than 1e-5, or 1e-5 of the largest value above 1.
"""

import sys

import numpy as np
import tensorflow as tf


def main(export: str, answers: str) -> int:
    """The exit status."""
    with np.load(answers) as file:
        arrays = {key: file[key] for key in file.files}
    request = {key[3:]: tf.constant(value) for key, value in arrays.items() if key.startswith("in:")}
    loaded = tf.saved_model.load(export)
    got = loaded.signatures["serving_default"](**request)
    worst = 0.0
    for key, expected in arrays.items():
        if not key.startswith("out:"):
            continue
        value = got[key[4:]].numpy()
        value = value.astype("S") if value.dtype == object else value
        if value.shape != expected.shape or value.dtype.kind != expected.dtype.kind:
            difference = np.inf
        elif expected.dtype.kind != "f":
            difference = 0.0 if np.array_equal(value, expected) else np.inf
        else:
            scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
            difference = float(np.max(np.abs(value - expected), initial=0.0)) / scale
        worst = max(worst, difference if difference == difference else np.inf)
    print(worst)
    return int(worst > 1e-5)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
