"""Fine-tuning against training from scratch: the same steps, test data that is never seen, three seeds.

    python benchmarks/finetuning.py digits --runs runs/finetuning
    python benchmarks/finetuning.py photographs FOLDER --runs runs/finetuning
    python benchmarks/finetuning.py python_docs --runs runs/finetuning
    python benchmarks/finetuning.py treebank GUM --export EXPORT --runs runs/finetuning

`digits` trains `lenet5_modern:mnist` on 10 and on 50 of scikit-learn's digits of each class. `photographs` trains
`resnet20:cifar10` on a folder with a subfolder for each class, of which it holds out 30 of each class by the seed.
`python_docs` trains the character model of Shakespeare on 50 kB of CPython's documentation, drawn by the seed, and
tests on that part of it that is nobody's training text. `treebank` trains a tagger on 200 sentences of GUM's
`-dev.conllu`, drawn by the seed, and tests on its `-test.conllu`.

From scratch the model trains with the export's own recipe (its optimizer, rate and schedule) in the same number of
steps. `python -m zoo.report RUNS/*` adds the results to results.csv, from where docs/finetuning.md has them.
"""

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import zoo
from zoo.exports.read import read_recipe
from zoo.tasks.table import load_predictor, recipe_from_dict
from zoo.training.run_folder import read_json, write_json
from zoo.weights.exports import find_export

SEEDS = (0, 1, 2)
HELD_OUT = 30  # photographs of each class
CHARACTERS = 50_000
SENTENCES = 200


def digits(folder: Path, seed: int, count: int) -> tuple[str, str | None]:
    """`count` digits of each class to train on, drawn by the seed, and the test split, as PNG files."""
    import tensorflow as tf

    from zoo.data.images import load_images
    from zoo.data.views import whole

    data = load_images("digits", whole((8, 8, 1)))
    for name, split in (("train", data.train), ("test", data.test)):
        order = np.random.default_rng(seed).permutation(len(split))
        for label in range(10):
            own = [i for i in order if split.labels[i] == label]
            (folder / name / str(label)).mkdir(parents=True)
            for i in own[:count] if name == "train" else own:
                png = tf.io.encode_png(split.pictures[i]).numpy()
                (folder / name / str(label) / f"{i}.png").write_bytes(png)
    return f"folder:{folder}", None


def photographs(folder: Path, seed: int, source: Path) -> tuple[str, str | None]:
    """Copies of photographs, `HELD_OUT` of each class, drawn by the seed, to test on."""
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(label.iterdir())
        order = np.random.default_rng(seed).permutation(len(files))
        for place, i in enumerate(order):
            target = folder / ("test" if place < HELD_OUT else "train") / label.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(files[i], target)
    return f"folder:{folder}", None


def python_docs(folder: Path, seed: int) -> tuple[str, str | None]:
    """`CHARACTERS` of the training text from a place drawn by the seed, and the data set's own test text."""
    from zoo.data.text import load_text

    data = load_text("python_docs", split="tfds", streams=1, sequence_length=50)
    (train,), (test,) = data.train.rows, data.test.rows
    start = np.random.default_rng(seed).integers(len(train) - CHARACTERS)
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text(train[start : start + CHARACTERS], encoding="utf-8")
    (folder / "test.txt").write_text(test, encoding="utf-8")
    return f"text:{folder / 'train.txt'}", f"text:{folder / 'test.txt'}"


def treebank(folder: Path, seed: int, source: Path) -> tuple[str, str | None]:
    """`SENTENCES` of the development file, drawn by the seed, as the training file, and the test file."""
    (development,), (test,) = source.glob("*-dev.conllu"), source.glob("*-test.conllu")
    sentences = development.read_text(encoding="utf-8").strip().split("\n\n")
    chosen = np.random.default_rng(seed).permutation(len(sentences))[:SENTENCES]
    folder.mkdir(parents=True)
    train = "".join(f"{sentences[i]}\n\n" for i in chosen)
    (folder / "gum-ud-train.conllu").write_text(train, encoding="utf-8")
    shutil.copy(test, folder / "gum-ud-test.conllu")
    return f"conllu:{folder}", None


def compare(name: str, export: str, write: Callable[[Path, int], tuple[str, str | None]]) -> None:
    """Trains from the export's weights with the defaults of `zoo finetune`, and from scratch, in the current folder."""
    own = recipe_from_dict(read_recipe(find_export(export)))
    for seed in SEEDS:
        data = Path(f"{name}-{seed}")
        shutil.rmtree(data, ignore_errors=True)
        dataset, test = write(data, seed)
        tuned = replace(zoo.finetuning_recipe(export, dataset=dataset, seed=seed), name=name)
        scratch = replace(
            own,
            name=name,
            dataset=dataset,
            seed=seed,
            epochs=tuned.epochs,
            batch_size=tuned.batch_size,
            warmup_epochs=min(own.warmup_epochs, tuned.epochs),
            limit_steps=None,
            paper={},
        )
        for way, recipe in (("finetuned", tuned), ("scratch", scratch)):
            folder = Path(f"{way}-{name}-{seed}")
            result = zoo.run(recipe, run_dir=folder, check_export=False)
            score(folder, folder, f"{way}/{name}", name, load_predictor(result.export).evaluate(test))
        # The export knows the tags, so that it answers without any fine-tuning; the test file is that of every seed.
        if own.task == "tagging" and seed == SEEDS[0]:
            scores = load_predictor(find_export(export)).evaluate(dataset)
            tuned_run, untrained = Path(f"finetuned-{name}-{seed}"), {"steps": 0, "planned_steps": 0, "seconds": 0.0}
            score(tuned_run, Path(f"untrained-{name}"), f"as_it_is/{name}", name, scores, **untrained)


def score(run: Path, folder: Path, recipe: str, data: str, scores: dict, **changes: float) -> None:
    """Leaves the score of the test data in `folder`, as the only row of a result that is otherwise that of `run` but
    for `changes`."""
    result = read_json(run / "result.json")
    metric = next(key for key in scores if key.startswith("test_") and not key.endswith(("loss", "examples")))
    row = {**result["rows"][0], "recipe": recipe, "dataset": data, "metric": metric, "value": scores[metric]}
    row |= changes
    folder.mkdir(exist_ok=True)
    write_json(folder / "result.json", {**result, "rows": [row]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=("digits", "photographs", "python_docs", "treebank"))
    parser.add_argument("source", nargs="?", type=Path, help="the folder of photographs, or of the treebank")
    parser.add_argument("--export", help="another export than the comparison's own")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the runs and their data")
    options = parser.parse_args()
    if (options.comparison in ("photographs", "treebank")) != (options.source is not None):
        parser.error(f"{options.comparison} takes {'a' if options.source is None else 'no'} folder")
    source = options.source and options.source.resolve()
    export = options.export and str(Path(options.export).resolve() if Path(options.export).exists() else options.export)
    options.runs.mkdir(parents=True, exist_ok=True)
    os.chdir(options.runs)  # the recipes then name the data by a relative path, which any machine has
    if options.comparison == "digits":
        for count in (10, 50):
            compare(f"digits_{count}", export or "lenet5_modern:mnist", partial(digits, count=count))
    elif options.comparison == "photographs":
        compare("photographs", export or "resnet20:cifar10", partial(photographs, source=source))
    elif options.comparison == "python_docs":
        compare("python_docs_50kB", export or "char_rnn:tiny_shakespeare", python_docs)
    else:
        compare("gum_200", export or "bilstm_tagger:en_ewt", partial(treebank, source=source))


if __name__ == "__main__":
    main()
