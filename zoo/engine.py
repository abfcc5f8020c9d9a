"""One run of a recipe, from its data to its export: `run(recipe)`."""

import importlib
import json
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import zoo
from zoo import distribute, export, optimizers, report
from zoo.distribute import Devices, Placement, placed
from zoo.errors import UsageError, ZooError, inner_error, reason
from zoo.layers import PerWord
from zoo.recipe import Recipe, list_recipes, load_recipe
from zoo.registry import Card, build, describe
from zoo.trainer import Trainer, without_auxiliary_heads

SAVE_SECONDS = 30.0  # between two checkpoints; a killed run loses no more than this and one execution


@dataclass(frozen=True)
class Result:
    """What a finished run leaves: its folder, its metrics, its export (None after a dry run) and the model itself."""

    folder: Path
    metrics: Mapping[str, float]
    export: Path | None
    model: keras.Model | None = None


class Interrupted(ZooError):
    """The user stopped the run; what was done is saved."""

    exit_status = 130


def run(
    recipe: Recipe,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    restart: bool = False,
    dry_run: bool = False,
    devices: Devices | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Result:
    """Trains, evaluates and exports what a recipe describes.

    Everything lands in the run's folder, `run_dir` or `runs/NAME/seedS-FINGERPRINT`. A run that was stopped or killed
    goes on from its last checkpoint and ends where it would have ended; a finished one is only reported.

    Args:
      recipe: what to run.
      run_dir: another folder for the run.
      restart: begin anew and discard what the folder holds.
      dry_run: build everything, train two steps, evaluate, export, and delete it all.
      devices: where to run; by default on whatever there is.
      callbacks: Keras callbacks of one's own, called before the engine's.

    Raises:
      UsageError: the recipe names something that does not exist or cannot be.
      ZooError: the data, the disk or the numbers fail; the message says how and what to do.
    """
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="zoo-dry-run-") as scratch:
            result = Run(replace(recipe, limit_steps=2), Path(scratch), callbacks, devices).go()
        _say(f"Dry run of {recipe.name} done: built, trained for 2 steps, evaluated, exported and deleted.")
        return Result(result.folder, result.metrics, None, result.model)
    folder = Path(run_dir or Path("runs", recipe.name, f"seed{recipe.seed}-{recipe.fingerprint()}"))
    job = Run(recipe, folder, callbacks, devices, restart=restart)
    result = job.go()
    if result.export:
        job.say(f"run:    {folder}\nexport: {result.export}")
    return result


def _say(text: str) -> None:
    print(text, flush=True)


class Run:
    """A recipe with the place where it runs and the folder that it fills."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        callbacks: Sequence[keras.callbacks.Callback],
        devices: Devices | None = None,
        *,
        restart: bool = False,
    ):
        self.recipe, self.folder, self.callbacks, self.restart = recipe, folder, callbacks, restart
        self.card: Card = describe(recipe.model)
        self.placement = placed(devices or Devices())
        self.precision = distribute.precision(recipe, self.placement)
        self.say = _say if self.placement.chief else lambda text: None

    def go(self) -> Result:
        try:
            return self._go()
        except tf.errors.OpError as error:
            if named := inner_error(error):
                raise named from error
            if not self.placement.watch:
                raise
            self.placement.watch.blame(error)
        except OSError as error:  # in whatever is read or written, TensorBoard's logs and the pictures among it
            raise ZooError(
                f"{error.filename or self.folder}: {reason(error)}. When that is mended, the same command goes on."
            ) from error

    def _go(self) -> Result:
        recipe, placement = self.recipe, self.placement
        least = placement.replicas * recipe.accumulate_steps
        if recipe.batch_size < least:
            raise UsageError(
                f"batch_size is {recipe.batch_size}; with {placement.replicas} replicas and "
                f"accumulate_steps={recipe.accumulate_steps} it must be at least {least}."
            )
        if placement.chief:
            self._empty_folder()
            self._claim_folder()
        placement.wait_for_all()
        if placement.agreed((self.folder / "result.json").exists()):
            return self._finished()
        keras.utils.set_random_seed(recipe.seed)
        if recipe.deterministic:
            tf.config.experimental.enable_op_determinism()
        with placement.strategy.scope():
            task, model = self.task_and_model()
        self.say(f"{recipe.name}: {task.summary()}")
        self.say(f"{model.name}: {model.count_params():,} weights; on {distribute.hardware()}")
        self.say(f"strategy: {placement.why}")
        if placement.replicas > 1:
            self.say(placement.share_of(recipe.batch_size))
        if self.precision == "float16" and not tf.config.list_physical_devices("GPU"):
            self.say("warning: float16 is slow on a CPU, which computes in float32 and converts; leave --precision out")
        training = Training(recipe, task, model, self.folder, self.callbacks, placement)
        training.fit()
        result = self._finish(task, model, training) if placement.chief else Result(self.folder, {}, None)
        placement.done()
        return result

    def _finish(self, task, model: keras.Model, training: "Training") -> Result:
        """Scores and exports the trained model, in one process and on one device."""
        recipe = self.recipe
        if self.placement.replicas > 1:  # the same net of variables that lie in one place
            trained, model = model, self._net(task)
            for variable, value in zip(model.variables, trained.variables, strict=True):
                variable.assign(value.numpy())
        model = without_auxiliary_heads(model)
        self.say("Evaluating")
        metrics = task.evaluate(model, self.folder)
        if training.rows:
            report.curves(training.rows, self.folder / "curves.png")
        self.say("Exporting, and checking the export in a fresh process")
        exported = export.write(
            self.folder / "export" / recipe.name,
            task.serving(model),
            model,
            recipe,
            self.card,
            task.serving_examples(),
            metrics,
            {**self.recipe.model_args, **task.model_args()},
        )
        self._write_result(metrics, training, exported)
        self._print(metrics)
        return Result(self.folder, MappingProxyType(metrics), exported, model)

    def _empty_folder(self) -> None:
        if self.restart and self.folder.exists():
            if any(self.folder.iterdir()) and not (self.folder / "recipe.json").exists():
                raise UsageError(f"{self.folder} is no run's folder, so --restart does not empty it.")
            shutil.rmtree(self.folder)

    def _claim_folder(self) -> None:
        """Makes the run's folder, or sees that the one there belongs to the same recipe."""
        path = self.folder / "recipe.json"
        try:
            if path.exists():
                there = json.loads(path.read_text(encoding="utf-8"))
                here = self.recipe.to_dict()
                differing = [key for key in here if there.get(key) != here[key]]
                if differing:
                    told = "; ".join(f"{key} is {there.get(key)!r} there, {here[key]!r} here" for key in differing[:4])
                    raise UsageError(
                        f"{self.folder} holds another run ({told}). Choose another --run-dir, or --restart."
                    )
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(not other.name.startswith(".") for other in self.folder.iterdir()):
                raise UsageError(f"{self.folder} is not empty and no run's folder; choose another --run-dir.")
            write_json(path, self.recipe.to_dict())
            write_json(self.folder / "environment.json", {**environment(), "strategy": self.placement.why})
        except OSError as error:
            raise ZooError(f"The run's folder {self.folder} cannot be written: {reason(error)}.") from error

    def _finished(self) -> Result:
        result = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        exported = self.folder / result["export"]
        self.say(f"{self.folder} holds this run, finished. To train again: --restart.")
        if self.placement.chief:
            self._print(result["metrics"])
        self.placement.done()
        return Result(self.folder, MappingProxyType(result["metrics"]), exported)

    def task_and_model(self) -> tuple[Any, keras.Model]:
        """The recipe's task with its data, and the net that it trains."""
        recipe = self.recipe
        module, _, name = recipe.task.partition(":")
        task = getattr(importlib.import_module(module), name)(recipe, self.card, self.say)
        model = self._net(task)
        if recipe.sync_batch_norm and self.placement.replicas > 1:
            for layer in model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
        if recipe.keep == "best" and task.validation_batches() is None:
            raise UsageError(
                f"{recipe.name}: keep is 'best', but there is no validation split; set validation_examples."
            )
        return task, model

    def _net(self, task) -> keras.Model:
        arguments = {**task.model_args(), **self.recipe.model_args}
        policy = self.precision if self.precision in ("float32", "float64") else f"mixed_{self.precision}"
        return build(self.recipe.model, dtype=policy, **arguments)

    def _write_result(self, metrics: dict[str, float], training: "Training", exported: Path) -> None:
        recipe, setting = self.recipe, environment()
        versions = setting["versions"]
        common = {
            "recipe": recipe.name,
            "model": _call(recipe),
            "seed": recipe.seed,
            "dataset": recipe.data,
            "steps": training.step,
            "planned_steps": training.planned_steps(),
            "seconds": round(training.seconds, 1),
            "precision": self.precision,
            "strategy": self.placement.summary,
            "trained_on": setting["hardware"],
            "evaluated_on": setting["hardware"],
            "versions": " ".join(f"{key}-{versions[key]}" for key in ("python", "tensorflow", "keras")),
            "commit": setting["commit"],
            "command": setting["command"],
        }
        rows = [
            {**common, "metric": metric, "value": value, "paper": recipe.paper.get(metric)}
            for metric, value in metrics.items()
            if not metric.endswith("loss")
        ]
        result = {"metrics": metrics, "export": str(exported.relative_to(self.folder)), "rows": rows}
        write_json(self.folder / "result.json", result)

    def _print(self, metrics: Mapping[str, float]) -> None:
        rows = [
            (metric.replace("_", " "), report.shown(metric, value), report.shown(metric, self.recipe.paper.get(metric)))
            for metric, value in metrics.items()
        ]
        report.table(f"{self.recipe.name} (seed {self.recipe.seed})", ("metric", "ours", "paper"), rows)


class Training:
    """Fits a model with Keras's own loop, so that it can be killed at any step and go on as if it had not been."""

    def __init__(
        self,
        recipe: Recipe,
        task,
        model: keras.Model,
        folder: Path,
        callbacks: Sequence[keras.callbacks.Callback],
        placement: Placement,
    ):
        self.recipe, self.task, self.folder, self.placement = recipe, task, folder, placement
        self.paths = [weight.path for weight in model.trainable_variables]
        patterns = recipe.decayed_weights if recipe.weight_decay else ()
        decayed = optimizers.matching(patterns, self.paths, "decayed_weights")
        with placement.strategy.scope():
            self.model = Trainer(model, task, recipe.weight_decay, decayed, recipe.accumulate_steps)
        self.callbacks = callbacks
        self.steps_per_epoch, self.execution = _divide(recipe, task.train_examples)
        self.total = min(recipe.epochs * self.steps_per_epoch, recipe.limit_steps or sys.maxsize)
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._compile()
        self._prepare_checkpoint()

    @property
    def step(self) -> int:
        return int(self.model.optimizer.iterations.numpy())

    def planned_steps(self) -> int:
        """The steps of the whole training, as the recipe's script has it: a run may be told to stop sooner."""
        plan = load_recipe(self.recipe.name) if self.recipe.name in list_recipes() else self.recipe
        return min(plan.epochs * self.steps_per_epoch, plan.limit_steps or sys.maxsize)

    def _compile(self) -> None:
        recipe, model = self.recipe, self.model
        jit_compile = distribute.jit_compile(recipe, self.placement)
        for layer in model.net.layers:
            if isinstance(layer, PerWord):  # their blocks are as wide as the data say, which XLA cannot have
                layer.in_blocks = not jit_compile
        with self.placement.strategy.scope():
            model.compile(
                optimizer=optimizers.optimizer(recipe, self.steps_per_epoch, self.paths),
                jit_compile=jit_compile,
                steps_per_execution=self.execution,
            )
            model.optimizer.build(model.trainable_variables)  # a checkpoint restores into its variables

    def _prepare_checkpoint(self) -> None:
        model, recipe = self.model, self.recipe
        self.best = [tf.Variable(v.value) for v in model.variables] if recipe.keep == "best" else []
        self.best_value = -math.inf
        self.state = tf.Variable("", dtype=tf.string)
        self.streams = {
            name: tf.Variable(value, trainable=False) for name, value in model.gathered_state().items()
        }  # of all replicas together, so that another number of them can go on
        checkpoint = tf.train.Checkpoint(
            model=[v.value for v in model.variables],
            optimizer=[v.value for v in model.optimizer.variables],
            metrics=[v.value for v in model.metrics_variables],
            best=self.best,
            streams=self.streams,
            state=self.state,
        )
        # Every worker takes part in a checkpoint, for some of its values lie with each; the chief's counts.
        self.scratch = None if self.placement.chief else tempfile.TemporaryDirectory(prefix="zoo-worker-")
        folder = Path(self.scratch.name) if self.scratch else self.folder
        if self.scratch:
            self.placement.watch.scratch = folder
        self.manager = tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), max_to_keep=2)
        self.saved_at = time.monotonic()
        self.started_at = time.monotonic()

    def fit(self) -> None:
        finished = self._restore()
        if finished:
            return
        segments = self._segments()
        try:
            for number, segment in enumerate(segments, start=1):
                self._fit(*segment, last=number == len(segments))
                if self.model.stop_training:  # a callback has had enough
                    break
        except KeyboardInterrupt:
            step = self.step
            if self.placement.multi_worker:  # each worker is at a step of its own
                where = "from the last checkpoint"
            elif step % self.steps_per_epoch or len(self.rows) * self.steps_per_epoch == step:
                self.save()
                where = "from there"
            else:  # in the midst of validation, whose epoch has no row yet
                where = "from the last checkpoint"
            raise Interrupted(
                f"Stopped at step {step:,} of {self.total:,}; the same command goes on {where} ({self.folder})."
            ) from None
        if self.best:
            for variable, value in zip(self.model.variables, self.best, strict=True):
                variable.assign(value)
        self.save(finished=True)

    def _segments(self) -> list[tuple[int, int, int]]:
        """What is left to do, as calls of `fit`: the first epoch, the epoch to end before, the steps of each."""
        size, step, end = self.steps_per_epoch, self.step, self.total
        segments = []
        if step % size and step < end:  # the rest of the epoch in which the run was stopped
            steps = min(size - step % size, end - step)
            segments.append((step // size, step // size + 1, steps))
            step += steps
        if whole := (end - step) // size:
            segments.append((step // size, step // size + whole, size))
            step += whole * size
        if step < end:  # limit_steps ends within an epoch
            segments.append((step // size, step // size + 1, end - step))
        return segments

    def _fit(self, first_epoch: int, epochs: int, steps: int, *, last: bool) -> None:
        raw = _Snapshot(self.model) if self.recipe.keep == "average" and not last else None
        validation = self.task.validation_batches()
        batch_size = self.recipe.batch_size
        batches = self.task.training_batches(self.step, self.placement.rows_of(batch_size))
        verbose = "auto" if sys.stdout.isatty() else 2
        self.model.fit(
            distribute.dealt(batches, self.placement, batch_size),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=None if validation is None else distribute.dealt(validation, self.placement),
            validation_steps=None if validation is None else int(validation.cardinality()),
            callbacks=[*self._callbacks(), *([raw] if raw else [])],
            shuffle=False,
            verbose=verbose if self.placement.chief else 0,
        )
        if raw and not self.model.stop_training:  # fit has put the averaged weights into the model, too early here
            raw.restore()

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        callbacks = [*self.callbacks, *self.task.callbacks()]
        callbacks.append(_Bookkeeping(self))
        if self.placement.chief:
            callbacks.append(keras.callbacks.TensorBoard(str(self.folder / "tensorboard"), write_graph=False))
        return callbacks

    def save(self, *, finished: bool = False) -> None:
        """Writes a checkpoint; the one before stays until this one is whole."""
        now = time.monotonic()
        self.seconds, self.started_at = self.seconds + now - self.started_at, now
        state = {
            "rows": self.rows,
            "seconds": self.seconds,
            "best_value": self.best_value if self.best else None,
            "finished": finished,
        }
        self.state.assign(json.dumps(state))
        for name, value in self.model.gathered_state().items():
            self.streams[name].assign(value)
        try:
            self.manager.save(checkpoint_number=self.step)
        except (OSError, tf.errors.OpError) as error:
            if self.placement.multi_worker and isinstance(error, tf.errors.OpError):
                raise  # a checkpoint gathers from all workers, of which one may be lost
            raise ZooError(
                f"The checkpoint of step {self.step:,} cannot be written to {self.folder}: {reason(error)}. "
                f"{'The one before is whole; make' if self.manager.latest_checkpoint else 'Make'} room and start the "
                "same command again."
            ) from error
        self.saved_at = time.monotonic()

    def save_by_the_clock(self) -> None:
        """Writes a checkpoint if the last one is old enough, by the chief's clock."""
        if self.placement.agreed(time.monotonic() - self.saved_at > SAVE_SECONDS):
            self.save()

    def _restore(self) -> bool:
        """Goes back to the last checkpoint, if there is one. True if it is that of a finished training."""
        latest = tf.train.latest_checkpoint(str(self.folder / "checkpoint"))
        try:
            if latest is not None:
                self.manager.checkpoint.restore(latest).assert_existing_objects_matched()
        except (ValueError, AssertionError, tf.errors.OpError) as error:
            raise ZooError(
                f"The checkpoint {latest} is not one of this model "
                f"({reason(error)}). Choose another --run-dir, or begin anew with --restart."
            ) from error
        if self.step != (step := self.placement.of_chief(self.step)):
            raise ZooError(
                f"The chief goes on from step {step:,}, and this worker finds step {self.step:,} in {self.folder}. All "
                "workers must see the same folder; choose another --run-dir."
            )
        if latest is None:
            self._write_rows()
            return False
        self.model.scatter_state({name: value.numpy() for name, value in self.streams.items()})
        state = json.loads(self.state.numpy().decode())
        self.rows = state["rows"]
        self._write_rows()
        self.seconds = state["seconds"]
        if state["best_value"] is not None:
            self.best_value = state["best_value"]
        if not state["finished"]:
            epoch, done = divmod(self.step, self.steps_per_epoch)
            if self.placement.chief:
                _say(
                    f"Going on from step {self.step:,} of {self.total:,} (epoch {epoch + 1}, step {done:,}), "
                    f"{self.folder}"
                )
            self.resumed_metrics = [v.numpy() for v in self.model.metrics_variables] if done else None
        return state["finished"]

    resumed_metrics: list[Any] | None = None

    def _write_rows(self) -> None:
        if self.placement.chief:
            write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))

    def record(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds an epoch's row to metrics.jsonl. No times in it: a resumed run has the same rows."""
        row = {
            "epoch": epoch + 1,
            "step": self.step,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
        }
        row.update({key: float(value) for key, value in logs.items() if key != "learning_rate"})
        self.rows.append(row)
        try:
            with (self.folder / "metrics.jsonl" if self.placement.chief else Path(os.devnull)).open(
                "a", encoding="utf-8"
            ) as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise ZooError(f"{self.folder / 'metrics.jsonl'} cannot be written: {reason(error)}.") from error
        if self.best and self.task.score(logs) > self.best_value:
            self.best_value = float(self.task.score(logs))
            for kept, variable in zip(self.best, self.model.variables, strict=True):
                kept.assign(variable.value)


class _Bookkeeping(keras.callbacks.Callback):
    """Stops at numbers that are none, saves by the clock, writes each epoch's row."""

    def __init__(self, training: Training):
        super().__init__()
        self.training = training
        self.good_step = training.step

    def on_epoch_begin(self, epoch, logs=None):
        # Keras has just reset the metrics; in the middle of an epoch they go on from the checkpoint's.
        values, self.training.resumed_metrics = self.training.resumed_metrics, None
        if values is not None:
            for variable, value in zip(self.model.metrics_variables, values, strict=True):
                variable.assign(value)

    def on_test_begin(self, logs=None):
        self.model.prepare_validation()

    def on_train_batch_end(self, batch, logs=None):
        training = self.training
        step = training.step
        if not math.isfinite(logs["loss"]):
            where = (
                f"at step {step:,}"
                if step - self.good_step == 1
                else f"between steps {self.good_step + 1:,} and {step:,}"
            )
            last = training.manager.latest_checkpoint
            kept = f"The last good checkpoint is kept: {last}." if last else "No checkpoint was written yet."
            raise ZooError(
                f"The loss is no number any more: {float(logs['loss'])} {where}. {kept} Try a smaller --learning-rate."
            )
        self.good_step = step
        if step % training.steps_per_epoch:  # an epoch's last step is saved with its row, after validation
            training.save_by_the_clock()

    def on_epoch_end(self, epoch, logs=None):
        self.training.record(epoch, logs)
        self.training.save_by_the_clock()


class _Snapshot(keras.callbacks.Callback):
    """Keeps the weights as they are at the end of an epoch."""

    def __init__(self, model: keras.Model):
        super().__init__()
        self.weights = [v.value for v in model.trainable_variables]

    def on_epoch_end(self, epoch, logs=None):
        self.values = [weight.numpy() for weight in self.weights]

    def restore(self) -> None:
        for weight, value in zip(self.weights, self.values, strict=True):
            weight.assign(value)


def _divide(recipe: Recipe, examples: int) -> tuple[int, int]:
    """Steps an epoch, and how many of them stay in the graph at a time.

    The second must divide the first. Where the number of full batches has no good divisor (a prime, say), an epoch is
    shorter by up to half a per cent: what is left out opens the next one.
    """
    steps = recipe.steps_per_epoch or max(1, examples // recipe.batch_size)
    limit = recipe.steps_per_execution

    def divisor(n: int) -> int:
        n = math.gcd(n, recipe.limit_steps or n)
        return max(k for k in range(1, min(limit, n) + 1) if n % k == 0)

    choices = [steps] if recipe.steps_per_epoch else range(steps, steps - steps // 200 - 1, -1)
    for n in choices:
        if divisor(n) * 2 >= min(limit, n):
            return n, divisor(n)
    best = max(choices, key=divisor)
    return best, divisor(best)


def _call(recipe: Recipe) -> str:
    """The model with the arguments that the recipe gives it, as one would write it."""
    arguments = ", ".join(f"{key}={value!r}" for key, value in recipe.model_args.items())
    return f"{recipe.model}({arguments})" if arguments else recipe.model


def environment() -> dict[str, Any]:
    """What a run depends on besides its recipe: versions, hardware, the code's commit, the command."""
    names = ("tensorflow", "keras", "numpy")
    versions = {name: importlib.import_module(name).__version__ for name in names}
    root = Path(__file__).parent.parent
    commit = None
    if (root / ".git").exists():
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty"], capture_output=True, text=True
        )
        commit = done.stdout.strip() or None
    program = Path(sys.argv[0])
    name = f"python recipes/{program.name}" if program.suffix == ".py" else program.name
    arguments = sys.argv[1:]
    if "--run-dir" in arguments:  # where a run lies has no part in what comes out
        at = arguments.index("--run-dir")
        del arguments[at : at + 2]
    return {
        "versions": {"python": platform.python_version(), "zoo": zoo.__version__, **versions},
        "platform": platform.platform(),
        "hardware": distribute.hardware(),
        "commit": commit or f"version {zoo.__version__}",
        "command": " ".join([name, *map(shlex.quote, arguments)]),
    }


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    scratch = path.with_name(f".{path.name}.writing")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Writes JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")
