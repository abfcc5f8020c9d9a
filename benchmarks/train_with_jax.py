"""Trains image recipes with Keras's JAX backend, for machines with a GPU and without TensorFlow.

    python benchmarks/train_with_jax.py data cifar10 cifar10.npz
    KERAS_BACKEND=jax python benchmarks/train_with_jax.py train cifar10.npz RECIPE FOLDER [--seed 0] [--precision P]
    python benchmarks/train_with_jax.py finish FOLDER RUN_DIR

`data` and `finish` need TensorFlow, `train` needs JAX. `train` has the model, the optimizer and the schedule of
`zoo.run`, and the same augmentation; it draws other random numbers. The images stay on the device, and an epoch is one
compiled loop. It scores the test split and writes weights, metrics and result.json to FOLDER. About once a minute it
writes a checkpoint there, from which the same command goes on when it was killed. `finish` makes a finished run of them
in RUN_DIR, which `zoo.run` scores again and exports. On an NVIDIA GPU, products of float32 are computed in TF32, which
is JAX's default.
"""

import argparse
import io
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from contest import arrays_of

from zoo.errors import UsageError
from zoo.paths import write_whole
from zoo.recipe import load_recipe
from zoo.tasks.image_classification.recipe import ImageRecipe
from zoo.training import provenance

SUPPORTED = {  # fields that `train` computes or that do not concern it; all others must have their default
    *("name", "model", "model_args", "dataset", "seed", "precision", "paper", "epochs", "batch_size", "limit_steps"),
    *("learning_rate", "schedule", "schedule_epochs", "schedule_factors", "warmup_epochs", "momentum", "nesterov"),
    *("learning_rate_factors", "clip_norm", "weight_decay", "decayed_weights", "weight_decay_factors", "frozen_after"),
    *("lookahead_steps", "lookahead_decay", "lookahead_power", "label_smoothing", "crop", "train_sizes", "test_size"),
    *("test_views", "normalisation", "pixel_mean", "pixel_std", "random_shift", "shift_fill", "random_flip"),
    *("alternating_flip", "adapt_images"),
}

CHECKPOINT_SECONDS = 60.0


def recipe_of(name: str, seed: int, precision: str | None, limit_steps: int | None = None) -> ImageRecipe:
    """A shipped recipe. Raises `UsageError` for one with a field that `train` does not know."""
    recipe = replace(load_recipe(name), seed=seed)
    stated = "bfloat16" if recipe.precision == "auto" else recipe.precision
    recipe = replace(recipe, precision=precision or stated, limit_steps=limit_steps or recipe.limit_steps)
    if unknown := set(recipe.to_dict()) - {"task"} - set(recipe.at_default()) - SUPPORTED:
        raise UsageError(f"{name}: train_with_jax.py does not know the field {sorted(unknown)[0]}.")
    if recipe.crop not in ("none", "square") or recipe.test_views not in ("centre", "mirror", "mirror_shift"):
        raise UsageError(f"{name}: train_with_jax.py does not know its crop or its test_views.")
    return recipe


def data(dataset: str, path: str) -> None:
    """Writes the images and labels of a data set to an NPZ file."""
    from zoo.data.images import load_images
    from zoo.data.views import whole

    splits = load_images(dataset, whole((32, 32, 3)))
    np.savez(path, **arrays_of(splits))


def normalisation(recipe: ImageRecipe, images: np.ndarray) -> Callable:
    """The recipe's normalisation, a JAX function of uint8 images (N, H, W, C); it learns from the training images."""
    from jax import numpy as jnp

    mean, std = jnp.asarray(recipe.pixel_mean, "float32"), jnp.asarray(recipe.pixel_std, "float32")
    if recipe.normalisation == "per_image":

        def standardised(pixels):
            pixels = pixels.astype("float32")
            least = 1 / math.sqrt(math.prod(pixels.shape[1:]))
            centred = pixels - pixels.mean((1, 2, 3), keepdims=True)
            return centred / jnp.maximum(pixels.std((1, 2, 3), keepdims=True), least)

        return standardised
    if recipe.normalisation == "mean_image":
        mean = jnp.asarray(images.mean(axis=0, dtype="float64"), "float32")
    if recipe.normalisation != "gcn_zca":
        return lambda pixels: (pixels.astype("float32") - mean) / std

    def contrast(pixels, numbers):
        rows = pixels.reshape(len(pixels), -1).astype("float32")
        rows -= rows.mean(axis=1, keepdims=True)
        return 55.0 * rows / numbers.linalg.norm(rows, axis=1, keepdims=True)

    rows = contrast(images, np)
    centre = rows.mean(axis=0, dtype="float64")
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows) - np.outer(centre, centre))
    whitening = jnp.asarray(vectors / np.sqrt(np.maximum(values, 0) + 0.1) @ vectors.T, "float32")
    centre = jnp.asarray(centre, "float32")
    return lambda pixels: jnp.matmul(contrast(pixels, jnp) - centre, whitening, precision="highest").reshape(
        pixels.shape
    )


class Batches:
    """Training batches of a recipe as functions of the step: the images are on the device."""

    def __init__(self, recipe: ImageRecipe, size: tuple[int, int], images: np.ndarray, normalise: Callable):
        import jax
        from jax import numpy as jnp

        self.recipe, self.size = recipe, size
        self.later = normalise if recipe.normalisation == "per_image" else lambda images: images
        if recipe.normalisation != "per_image":
            parts = [jax.jit(normalise)(images[i : i + 5000]) for i in range(0, len(images), 5000)]
            images = jnp.concatenate(parts)
        shift = recipe.random_shift
        mode = "reflect" if recipe.shift_fill == "reflect" else "constant"
        self.images = jnp.pad(jnp.asarray(images), [(0, 0), (shift, shift), (shift, shift), (0, 0)], mode=mode)
        rng = np.random.default_rng(recipe.seed)
        self.first_side = rng.integers(0, 2, len(images))
        self.orders, self.rng = [], rng

    def indices(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Of steps `first` to `last` − 1, the images (steps, B) and whether alternating flips turn them."""
        size, count = self.recipe.batch_size, len(self.images)
        while len(self.orders) * count < last * size:
            self.orders.append(self.rng.permutation(count).astype("int32"))
        positions = np.arange(first * size, last * size)
        epochs, within = positions // count, positions % count
        indices = np.stack(self.orders[epochs[0] : epochs[-1] + 1])[epochs - epochs[0], within]
        sides = (self.first_side[indices] + epochs) % 2 == 1
        return indices.reshape(-1, size), sides.reshape(-1, size)

    def augmented(self, images, indices, sides, key):
        """A batch of `images`: random windows, of which some are turned left to right."""
        import jax
        from jax import numpy as jnp

        (height, width), count = self.size, len(indices)
        free = jnp.asarray([images.shape[1] - height + 1, images.shape[2] - width + 1])
        starts = jax.random.randint(key, (count, 2), 0, free)
        flipped = jnp.zeros(count, bool)
        if self.recipe.random_flip:
            flipped = (
                sides
                if self.recipe.alternating_flip
                else jax.random.bernoulli(jax.random.fold_in(key, 1), 0.5, (count,))
            )
        rows = starts[:, :1] + jnp.arange(height)
        columns = starts[:, 1:] + jnp.where(flipped[:, None], jnp.arange(width)[::-1], jnp.arange(width))
        return self.later(images[indices[:, None, None], rows[:, :, None], columns[:, None, :]])


def adapt(model, recipe: ImageRecipe, images: np.ndarray, normalise: Callable) -> None:
    """Sets the weights of layers that learn from images before training."""
    import keras

    for layer in [layer for layer in model.layers if hasattr(layer, "adapt") and recipe.adapt_images]:
        inputs = np.asarray(normalise(images[: recipe.adapt_images]))
        layer.adapt(keras.Model(model.input, layer.input).predict(inputs, batch_size=250, verbose=0))


class Descent:
    """Gradient descent on one device; `state` is the variables of model, optimizer and Lookahead, and the step."""

    def __init__(self, recipe: ImageRecipe, model, batches: Batches, labels: np.ndarray):
        import jax
        from jax import numpy as jnp

        from zoo.training import optimizers, phases

        self.recipe, self.model, self.batches = recipe, model, batches
        self.labels = jnp.asarray(labels)
        self.per_epoch = optimizers.divide_epoch(recipe, len(labels))[0]
        self.all_steps = recipe.total_steps(self.per_epoch)
        self.steps = recipe.steps(self.per_epoch)
        weights = model.trainable_variables
        paths = [weight.path for weight in weights]
        self.optimizer = optimizers.optimizer(recipe, self.per_epoch, paths)
        self.optimizer.build(weights)
        decay = optimizers.decay_factors(recipe, paths)
        self.decay = [recipe.weight_decay * decay.get(path, 0.0) for path in paths]
        ends = phases.frozen_after(recipe, model, self.per_epoch)
        self.ends = [ends.get(path) for path in paths]
        values = [
            [v.value for v in part] for part in (weights, model.non_trainable_variables, self.optimizer.variables)
        ]
        slow = [jnp.array(value) for value in (*values[0], *values[1]) if self._averaged(value)]
        self.state = (*values, slow if recipe.lookahead_steps else [], jnp.asarray(0, "int32"))
        self.key = jax.random.key(recipe.seed)
        self.epoch = jax.jit(self._epoch, donate_argnums=0)

    def loss(self, weights, others, images, labels):
        """The mean loss with weight decay, and the other variables after the step, right answers and the loss alone."""
        import jax
        from jax import numpy as jnp

        logits, others = self.model.stateless_call(weights, others, images, training=True)
        logits = logits.astype("float32")
        logs, smoothing = jax.nn.log_softmax(logits), self.recipe.label_smoothing
        losses = -(1 - smoothing) * logs[jnp.arange(len(labels)), labels] - smoothing * logs.mean(-1)
        decays = [factor / 2 * jnp.square(w).sum() for w, factor in zip(weights, self.decay, strict=True) if factor]
        total = losses.mean() + sum(decays)
        return total, (others, (logits.argmax(-1) == labels).mean(), total)

    def _step(self, state, images, all_labels, indices, sides):
        import jax
        from jax import numpy as jnp

        weights, others, moments, slow, done = state
        batch = self.batches.augmented(images, indices, sides, jax.random.fold_in(self.key, done))
        gradients, (others, right, loss) = jax.grad(self.loss, has_aux=True)(
            weights, others, batch, all_labels[indices]
        )
        new, moments = self.optimizer.stateless_apply(moments, gradients, weights)
        weights = [
            after if end is None else jnp.where(done < end, after, before)
            for before, after, end in zip(weights, new, self.ends, strict=True)
        ]
        done += 1
        if slow:
            weights, others, slow = self._looked_ahead(weights, others, slow, done)
        return (weights, others, moments, slow, done), (right, loss)

    def _averaged(self, value) -> bool:
        """Whether Lookahead has this variable: weights and statistics, not the states of random numbers."""
        return np.issubdtype(value.dtype, np.floating)

    def _looked_ahead(self, weights, others, slow, done):
        from jax import numpy as jnp

        recipe, values = self.recipe, [*weights, *others]
        kept = recipe.lookahead_decay * (done / self.all_steps) ** recipe.lookahead_power
        now, far = done % recipe.lookahead_steps == 0, iter(slow)
        mixed, slow = [], []
        for value in values:
            if self._averaged(value):
                before = next(far)
                after = kept * before + (1 - kept) * value
                slow.append(jnp.where(now, after, before))
                value = jnp.where(now, after, value)
            mixed.append(value)
        return mixed[: len(weights)], mixed[len(weights) :], slow

    def _epoch(self, state, images, labels, indices, sides):
        import jax

        state, (right, loss) = jax.lax.scan(
            lambda s, part: self._step(s, images, labels, *part), state, (indices, sides)
        )
        return state, right.mean(), loss.mean()

    def fit(self, checkpoint: Path) -> tuple[list[dict[str, float]], float]:
        """Trains to the last step, from `checkpoint` on where that is, and writes it on the way.

        Returns a row of metrics for each epoch and the seconds; the model then has the weights.
        """
        rows, before = self._restored(checkpoint) if checkpoint.exists() else ([], 0.0)
        rate, start = self.optimizer._learning_rate, time.monotonic()
        saved = start
        for first in range(int(self.state[-1]), self.steps, self.per_epoch):
            last = min(first + self.per_epoch, self.steps)
            part = self.batches.indices(first, last)
            self.state, right, loss = self.epoch(self.state, self.batches.images, self.labels, *part)
            row = {"epoch": len(rows) + 1, "step": last, "learning_rate": float(rate(last) if callable(rate) else rate)}
            rows.append({**row, "accuracy": float(right), "loss": float(loss)})
            if len(rows) % 10 == 1:
                print(f"{self.recipe.name}: step {last:,} of {self.steps:,}, {right:.2%}, loss {loss:.4f}", flush=True)
            if time.monotonic() - saved >= CHECKPOINT_SECONDS:
                self._save(checkpoint, rows, before + time.monotonic() - start)
                saved = time.monotonic()
        seconds = before + time.monotonic() - start
        weights, others, _, slow, _ = self.state
        values, far = [*weights, *others], iter(slow)
        if slow:
            values = [next(far) if self._averaged(value) else value for value in values]
        variables = [*self.model.trainable_variables, *self.model.non_trainable_variables]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return rows, seconds

    def _save(self, checkpoint: Path, rows: list[dict[str, float]], seconds: float) -> None:
        import jax

        content = io.BytesIO()
        about = json.dumps({"recipe": self.recipe.to_dict(), "rows": rows, "seconds": seconds})
        np.savez(content, *map(np.asarray, jax.tree.leaves(self.state)), about=about)
        write_whole(checkpoint, content.getvalue())

    def _restored(self, checkpoint: Path) -> tuple[list[dict[str, float]], float]:
        """Takes the state of a checkpoint, and returns its rows and seconds."""
        import jax
        from jax import numpy as jnp

        with np.load(checkpoint) as file:
            about = json.loads(str(file["about"]))
            leaves = [jnp.asarray(file[f"arr_{i}"]) for i in range(len(file.files) - 1)]
        if about["recipe"] != self.recipe.to_dict():
            raise UsageError(f"{checkpoint} is of a training with other settings; choose another folder.")
        self.state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)
        print(f"{self.recipe.name}: resuming at step {int(self.state[-1]):,}", flush=True)
        return about["rows"], about["seconds"]


def accuracy(model, recipe: ImageRecipe, size: tuple[int, int], images, labels, normalise: Callable) -> float:
    """Of the test split, in the recipe's views."""
    import jax
    from jax import numpy as jnp

    weights, others = ([v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables))
    top, left = ((images.shape[axis + 1] - size[axis]) // 2 for axis in (0, 1))

    @jax.jit
    def answers(pixels):
        inputs = normalise(pixels[:, top : top + size[0], left : left + size[1]])
        views = [(1.0, inputs)]
        if recipe.test_views == "mirror_shift":
            wide = jnp.pad(inputs, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
            moved = [wide[:, 2:, 2:], wide[:, : size[0], : size[1]]]
            views = [(0.5, inputs), *((0.25, view) for view in moved)]
        if recipe.test_views != "centre":
            views = [(weight / 2, view) for weight, own in views for view in (own, own[:, :, ::-1])]
        outputs = (
            weight * model.stateless_call(weights, others, view, training=False)[0].astype("float32")
            for weight, view in views
        )
        return sum(outputs).argmax(-1)

    right = [np.asarray(answers(images[i : i + 1000])) == labels[i : i + 1000] for i in range(0, len(images), 1000)]
    return float(np.mean(np.concatenate(right)))


def train(recipe: ImageRecipe, arrays: str, folder: Path, commit: str) -> float:
    """Trains a recipe on what `data` wrote and fills `folder`; returns the test accuracy."""
    import jax
    import keras

    import zoo

    with np.load(arrays) as file:
        images, labels, test_images, test_labels = (
            file[f"{split}_{kind}"] for split in ("train", "test") for kind in ("images", "labels")
        )
    keras.utils.set_random_seed(recipe.seed)
    precision = recipe.precision or "float32"
    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    model = zoo.build(recipe.model, dtype=policy, **{"num_classes": int(labels.max()) + 1, **recipe.model_args})
    size = tuple(model.input_shape[1:3])
    normalise = normalisation(recipe, images)
    adapt(model, recipe, images, normalise)
    descent = Descent(recipe, model, Batches(recipe, size, images, normalise), labels)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.npz"
    rows, seconds = descent.fit(checkpoint)
    value = accuracy(model, recipe, size, test_images, test_labels, normalise)
    device = jax.devices()[0]
    hardware = f"1 GPU ({device.device_kind}), JAX" if device.platform == "gpu" else f"{device.device_kind}, JAX"
    row = {
        "recipe": recipe.name,
        "model": recipe.call,
        "seed": recipe.seed,
        "dataset": recipe.data,
        "metric": "test_accuracy",
        "value": value,
        "paper": recipe.paper.get("test_accuracy"),
        "steps": descent.steps,
        "planned_steps": load_recipe(recipe.name).steps(descent.per_epoch),
        "seconds": round(seconds, 1),
        "precision": precision,
        "strategy": "one_device",
        "trained_on": hardware,
        "evaluated_on": hardware,
        "versions": f"python-{platform.python_version()} jax-{version('jax')} keras-{version('keras')}",
        "commit": commit,
        "command": f"KERAS_BACKEND=jax {provenance.command(without=('--commit',))}",
    }
    (folder / "recipe.json").write_text(json.dumps(recipe.to_dict(), indent=2) + "\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    np.savez(folder / "weights.npz", **{v.path: np.asarray(v.value) for v in model.weights})
    (folder / "result.json").write_text(
        json.dumps({"metrics": {"test_accuracy": value}, "rows": [row]}, indent=2) + "\n"
    )
    checkpoint.unlink(missing_ok=True)
    return value


def finish(folder: Path, run_dir: Path) -> None:
    """Makes a run of what `train` wrote, at its last step, and lets `zoo.run` score and export it."""
    import zoo
    from zoo.tasks.table import recipe_from_dict
    from zoo.training import run_folder
    from zoo.training.descent import GradientDescent
    from zoo.training.run import Run

    recipe = recipe_from_dict(json.loads((folder / "recipe.json").read_text()))
    (row,) = json.loads((folder / "result.json").read_text())["rows"]
    job = Run(recipe, run_dir)
    run_folder.claim(run_dir, recipe, {"strategy": job.placement.why, "precision": job.precision})
    model = job.prepare()
    with np.load(folder / "weights.npz") as weights:
        for variable in model.weights:
            variable.assign(weights[variable.path])
    training = job.training(model)
    descent = GradientDescent(training)
    descent.restore()
    training.rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    training.seconds = row["seconds"]
    training.counter.assign(row["steps"])
    if descent.model.lookahead:
        for fast, slow in zip(descent.model.lookahead.fast, descent.model.lookahead.slow, strict=True):
            slow.assign(fast.value())
    training.started_at = time.monotonic()
    descent.save(finished=True)
    zoo.run(recipe, run_dir=run_dir)
    result = json.loads((run_dir / "result.json").read_text())
    for own in result["rows"]:
        own |= {key: row[key] for key in ("trained_on", "versions", "commit", "command", "seconds")}
    run_folder.write_json(run_dir / "result.json", result)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("data", help=data.__doc__)
    part.add_argument("dataset")
    part.add_argument("path")
    part = parts.add_parser("train", help=train.__doc__)
    part.add_argument("arrays")
    part.add_argument("recipe")
    part.add_argument("folder", type=Path)
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--precision", choices=("float32", "bfloat16"))
    part.add_argument("--limit-steps", type=int)
    part.add_argument("--commit", default=provenance.commit(), help="of this code, where it is not in a repository")
    part = parts.add_parser("finish", help=finish.__doc__)
    part.add_argument("folder", type=Path)
    part.add_argument("run_dir", type=Path)
    options = parser.parse_args(arguments)
    if options.part == "data":
        data(options.dataset, options.path)
    elif options.part == "finish":
        finish(options.folder, options.run_dir)
    else:
        import keras

        if keras.backend.backend() != "jax":
            parser.error("train needs Keras's JAX backend; set KERAS_BACKEND=jax before the command.")
        try:
            recipe = recipe_of(options.recipe, options.seed, options.precision, options.limit_steps)
            value = train(recipe, options.arrays, options.folder, options.commit)
        except UsageError as error:
            parser.error(str(error))
        print(f"{recipe.name}, seed {recipe.seed}: {value:.2%}")


if __name__ == "__main__":
    main()
