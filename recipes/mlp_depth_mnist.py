"""How deep can a sigmoid net be? 0 to 4 hidden layers of 30 units on MNIST, as in Nielsen's book, chapter 5.

    python recipes/mlp_depth_mnist.py              (seed 0; add --seeds 3 for the mean of three)

The book reports, as validation accuracy after 30 epochs: 96.48 % with one hidden layer, 96.90 % with two, 96.57 % with
three, 96.53 % with four. Depth does not help. At the start of training the gradients of the first layers are much
smaller than those of the last; `gradient_norms.png` shows this.

The settings are those of the book: batches of 10, rate 0.1, λ = 5 over 50,000 training examples, sigmoid units with a
cross-entropy summed over the ten outputs, weights from N(0, 1/fan-in), biases from N(0, 1), pixels from 0 to 1. The
validation split is the last 10,000 training digits of MNIST, which are easier than the others.

Lectures give about 88 % without a hidden layer. That number does not follow from these settings, which give about 92 %.
It is the accuracy of LeCun's linear classifier of 1998 (12.0 % test error), which is trained with squared errors.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

import zoo

recipe = zoo.ImageRecipe(
    name="mlp_depth_mnist",
    model="mlp_nielsen",
    dataset="mnist",
    validation_examples=10_000,
    validation_cut="end",
    epochs=30,
    batch_size=10,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=1e-4,  # λ/n = 5/50,000
    loss="sigmoid_cross_entropy",
    steps_per_execution=500,
)

BOOK = {1: 0.9648, 2: 0.9690, 3: 0.9657, 4: 0.9653}
LECTURE = {0: 0.88, 1: 0.965, 2: 0.969, 3: 0.965, 4: 0.965}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study and returns the exit status."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--seeds", type=int, default=1, help="repeat with so many seeds, from --seed on")
    given, rest = own.parse_known_args(arguments)
    if given.seeds < 1:
        raise zoo.UsageError(f"--seeds is {given.seeds}; it must be at least 1.")
    base, options = zoo.parse(recipe, rest)
    if options["run_dir"]:
        raise zoo.UsageError("mlp_depth_mnist makes several runs, each in its own folder; it takes no --run-dir.")

    book, lecture = (BOOK, LECTURE) if base.dataset == recipe.dataset else ({}, {})
    folder = Path("runs", base.name)
    results: dict[int, list] = {depth: [] for depth in range(5)}
    for seed in range(base.seed, base.seed + given.seeds):
        for depth in results:
            paper = {"validation_accuracy": book[depth]} if depth in book else {}
            one = replace(base, seed=seed, model_args={**base.model_args, "hidden": (30,) * depth}, paper=paper)
            norms = gradient_norms(folder / f"gradient_norms_seed{seed}.json")
            results[depth].append(
                zoo.run(one, **options, callbacks=[norms] if depth == 4 and not options["dry_run"] else [])
            )
    if not options["dry_run"]:
        summarize(results, folder, base.seed, book, lecture)
    return 0


def gradient_norms(path: Path):
    """A Keras callback that measures, before each epoch, the strength of the gradient in each layer.

    That is the norm of the gradient with respect to the biases of the layer, averaged over 1,000 training images. It is
    stored in the file `path`, so that a resumed run has all epochs.
    """
    import keras
    import tensorflow as tf

    from zoo.training.run_folder import read_json, write_json

    class GradientNorms(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.task, self.net = self.model.task, self.model.net
            images, labels = next(iter(self.task.data.train.batches(1000)))
            self.batch = {"inputs": self.task.preprocessing.centre(images), "labels": labels}

        def on_epoch_begin(self, epoch, logs=None):
            biases = [layer.bias.value for layer in self.net.layers if isinstance(layer, keras.layers.Dense)]
            with tf.GradientTape() as tape:
                total, count = self.task.loss(self.batch, self.net(self.batch["inputs"]))
                loss = total / count
            norms = read_json(path) if path.exists() and epoch else {}
            norms[str(epoch)] = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, biases)]
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, norms)

    return GradientNorms()


def summarize(
    results: dict[int, list], folder: Path, seed: int, book: dict[int, float], lecture: dict[int, float]
) -> None:
    """Prints the table beside those of the book and the lecture, and draws the vanishing gradient."""
    from zoo.report import console, plots
    from zoo.training.run_folder import read_json

    percent = partial(console.format_metric, "accuracy")
    rows = [
        (
            depth,
            percent(mean(run.metrics["validation_accuracy"] for run in runs)),
            percent(mean(run.metrics["test_accuracy"] for run in runs)),
            percent(book.get(depth)),
            percent(lecture.get(depth)),
        )
        for depth, runs in results.items()
    ]
    columns = ("hidden layers", "validation", "test", "book (validation)", "lecture")
    console.table(f"Nielsen's depth study, mean of {len(results[0])} run(s)", columns, rows)
    if lecture:
        print("The lecture's 88 % without a hidden layer does not follow from the book's settings; see the header.")

    norms = read_json(folder / f"gradient_norms_seed{seed}.json")
    layers = zip(*(norms[epoch] for epoch in sorted(norms, key=int)), strict=True)
    names = [*(f"hidden layer {number}" for number in range(1, 5)), "output layer"]
    picture = folder / "gradient_norms.png"
    plots.lines(
        dict(zip(names, layers, strict=True)),
        picture,
        title="In the first epochs the gradient vanishes on its way down (4 hidden layers of 30)",
        xlabel="epochs done",
        ylabel="norm of the gradient by the biases",
        log=True,
    )
    share = norms["0"][-1] / norms["0"][0]
    print(
        f"At the start the first hidden layer's gradient is {share:.0f} times weaker than the output layer's: {picture}"
    )


if __name__ == "__main__":
    zoo.leave(main)
