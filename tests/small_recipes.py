"""A small recipe of each task, with its own data.

As a script, `small_recipes.py FOLDER DEVICES TASKS CHANGES` trains some in a process of its own, which may
be a worker of several: FOLDER gets a file of losses, weights and metrics for each of TASKS, parted by commas. DEVICES
and CHANGES, of the recipes' fields, are JSON.
"""

import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

import zoo

TASKS = ("image", "language", "tagging", "translation", "text")


def small_recipes(folder):
    """Recipes by task. Every worker writes the same files into `folder`."""
    draw = random.Random(0)
    words = [f"w{i}" for i in range(20)]
    sentences = [draw.choices(words, k=draw.randint(2, 9)) for _ in range(200)]

    def written(name, content):
        path = folder / f"{name}.{os.getpid()}"
        path.write_text(content)
        path.replace(folder / name)
        return folder / name

    def row(number, word):
        return f"{number}\t{word}\t_\tT{word[-1]}" + "\t_" * 6

    tagged = written("a.conllu", "".join("\n".join(map(row, range(1, 99), s)) + "\n\n" for s in sentences))
    paired = written("a.tsv", "".join(f"{' '.join(s)}\t{' '.join(s[::-1])}\n" for s in sentences))
    labelled = written("b.tsv", "".join(f"{' '.join(s)}\t{'even' if len(s) % 2 == 0 else 'odd'}\n" for s in sentences))
    text = written("a.txt", " ".join(" ".join(s) for s in sentences) * 3)
    common = {
        "epochs": 2,
        "limit_steps": 30,
        "batch_size": 6,
        "optimizer": "adam",
        "learning_rate": 0.01,
        "clip_norm": 0.5,
        "steps_per_execution": 1,
    }
    recipes = [
        zoo.ImageRecipe(
            name="image",
            model="lenet5_modern",
            model_args={"input_shape": (16, 16, 1)},
            dataset="digits",
            random_shift=1,
            weight_decay=1e-4,
            **common,
        ),
        zoo.LanguageModelRecipe(
            name="language",
            model="char_rnn",
            model_args={"units": 12},
            dataset=f"text:{text}",
            split="char_rnn",
            sequence_length=10,
            **common,
        ),
        zoo.TaggingRecipe(
            name="tagging",
            model="bilstm_tagger",
            model_args={"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8, "noise": 0.0},
            dataset=f"conllu:{tagged}",
            word_dropout=1.0,
            **common,
        ),
        zoo.TranslationRecipe(
            name="translation",
            model="seq2seq",
            model_args={"embedding": 8, "units": 8, "maxout": 8, "alignment": 8},
            dataset=f"tsv:{paired}",
            label_smoothing=0.1,
            **common,
        ),
        zoo.TextClassificationRecipe(
            name="text",
            model="bilstm_classifier",
            model_args={"units": 8, "character_units": 4, "character_embedding": 4, "word_embedding": 8, "noise": 0.0},
            dataset=f"tsv:{labelled}",
            validation_examples=20,
            word_dropout=1.0,
            **common,
        ),
    ]
    return dict(zip(TASKS, recipes, strict=True))


class Losses(keras.callbacks.Callback):
    """Collects the loss of each step."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        self.losses.append(float(np.mean(logs["loss"])))


def main(folder, devices, tasks, changes):
    folder = Path(folder)
    recipes, devices = small_recipes(folder), zoo.Devices(**json.loads(devices))
    options = {"devices": devices, "check_export": False, "save_seconds": 0.0}
    for name in tasks.split(","):
        losses = Losses()
        recipe = replace(recipes[name], **json.loads(changes))
        result = zoo.run(recipe, run_dir=folder / name, callbacks=[losses], **options)
        if result.model is not None:  # a worker that is not the chief has none
            arrays = {f"w{i}": w.numpy() for i, w in enumerate(result.model.weights)}
            rows = (folder / name / "metrics.jsonl").read_text()
            metrics = json.dumps(dict(result.metrics))
            np.savez(folder / f"{name}.npz", losses=losses.losses, rows=rows, metrics=metrics, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
