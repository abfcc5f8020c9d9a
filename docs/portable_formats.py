"""Writes the table of docs/exports.md on ONNX and LiteRT: `python docs/portable_formats.py [MODEL…]`.

Models of images with up to 30 million weights are built with fresh weights and converted; larger ones have the same
operations as those of their family. With names of models, only their rows are printed.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import zoo
from zoo.errors import ZooError
from zoo.exports.portable import SUFFIXES, write_portable
from zoo.report.results import write_table

PAGE = Path(__file__).with_name("exports.md")
START = "<!-- written by python docs/portable_formats.py -->"
LARGEST = 30_000_000


def models() -> list[str]:
    """Names of the models that the table has a row of."""
    cards = map(zoo.describe, zoo.list_models(task="image_classification"))
    return [card.name for card in cards if card.parameters <= LARGEST]


def row(name: str) -> str:
    """The row of a model."""
    import keras

    from zoo.tasks.image_classification.portable import portable_classifier
    from zoo.tasks.image_classification.preprocessing import Preprocessing
    from zoo.tasks.image_classification.serving import ServingClassifier

    card = zoo.describe(name)
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    model = zoo.build(name)
    for weight in model.trainable_weights:
        if weight.path.endswith("kernel") and not np.any(weight):  # answers of zero would show nothing
            weight.assign(keras.random.normal(weight.shape, stddev=0.1, seed=0))
    # With this loss the answers are the logits: the probabilities of fresh weights may be all zeros and ones.
    fields = {"epochs": 1, "batch_size": 1, "learning_rate": 0.1, "loss": "perceptron"}
    recipe = zoo.ImageRecipe(name=name, model=name, dataset="digits", **fields)
    labels = tuple(map(str, range(model.output_shape[-1])))
    preprocessing = Preprocessing(recipe, card.input_shape)
    serving = ServingClassifier(model, preprocessing, labels)
    portable = portable_classifier(model, preprocessing, serving.endpoints["serving_default"], labels)
    cells = []
    for file_format in SUFFIXES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                cells.append(f"{write_portable(portable, file_format, Path(folder, 'model')):.0e}")
            except ZooError as error:
                cells.append(str(error).replace("|", "\\|"))
    return f"| `{name}` | {' | '.join(cells)} |"


def main(names: list[str]) -> None:
    rows = []
    for name in names or models():
        rows.append(row(name))
        print(rows[-1], flush=True)
    if names:
        return
    table = "\n".join(["| model | ONNX | LiteRT |", "|---|---:|---:|", *rows])
    write_table(PAGE, table, START)


if __name__ == "__main__":
    main(sys.argv[1:])
