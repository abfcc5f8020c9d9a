"""Fine-tuning against training from scratch: the same steps, test images that are never seen, the mean of three seeds.

`python benchmarks/finetuning.py digits` trains on 10 and on 50 of scikit-learn's digits of each class and tests on its
250 test images. `python benchmarks/finetuning.py FOLDER --export resnet20:cifar10` takes photographs, a subfolder a
class, of which it holds out 30 of each class by the seed. From scratch the model trains with the export's own recipe:
its optimizer, rate and schedule, in the same number of steps. Prints rows of docs/finetuning.md.
"""

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

import zoo
from zoo.exports.read import read_recipe
from zoo.tasks.table import recipe_from_dict
from zoo.weights.exports import find_export

SEEDS = (0, 1, 2)
HELD_OUT = 30  # photographs of each class


def digits(folder: Path, seed: int, count: int) -> None:
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


def photographs(folder: Path, seed: int, source: Path) -> None:
    """Copies of photographs, `HELD_OUT` of each class, drawn by the seed, to test on."""
    for label in sorted(path for path in source.iterdir() if path.is_dir()):
        files = sorted(label.iterdir())
        order = np.random.default_rng(seed).permutation(len(files))
        for place, i in enumerate(order):
            target = folder / ("test" if place < HELD_OUT else "train") / label.name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(files[i], target)


def accuracies(export: str, folder: Path, seed: int) -> tuple[float, float]:
    """Test accuracy from the export's weights with the defaults of `zoo finetune`, and from scratch."""
    tuned = zoo.finetuning_recipe(export, dataset=f"folder:{folder / 'data'}", seed=seed)
    own = recipe_from_dict(read_recipe(find_export(export)))
    scratch = replace(
        own,
        name=f"{own.name}-scratch",
        dataset=tuned.dataset,
        seed=seed,
        epochs=tuned.epochs,
        batch_size=tuned.batch_size,
        warmup_epochs=min(own.warmup_epochs, tuned.epochs),
        limit_steps=None,
        paper={},
    )
    found = []
    for recipe in (tuned, scratch):
        result = zoo.run(recipe, run_dir=folder / recipe.name, check_export=False)
        found.append(result.metrics["test_accuracy"])
    return found[0], found[1]


def row(label: str, export: str, write) -> str:
    """A row of the table: pretrained and from scratch, mean ± standard deviation."""
    pairs = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as scratch:
            write(Path(scratch, "data"), seed)
            pairs.append(accuracies(export, Path(scratch), seed))
    cells = [f"{np.mean(side):.1%} ± {np.std(side, ddof=1):.1%}" for side in zip(*pairs, strict=True)]
    return f"| `{export}` | {label} | {cells[0]} | {cells[1]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="digits, or a folder of photographs")
    parser.add_argument("--export", default="lenet5_modern:mnist")
    options = parser.parse_args()
    if options.data == "digits":
        rows = [row(f"digits, {n} of each class", options.export, lambda f, s, n=n: digits(f, s, n)) for n in (10, 50)]
    else:
        source = Path(options.data)
        label = f"photographs of {sum(path.is_dir() for path in source.iterdir())} breeds"
        rows = [row(label, options.export, lambda f, s: photographs(f, s, source))]
    print("\n".join(rows))


if __name__ == "__main__":
    main()
