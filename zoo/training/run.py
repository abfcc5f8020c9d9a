"""One run of a recipe, from its data to its export: `run(recipe)`."""

import contextlib
import inspect
import math
import numbers
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

import zoo
from zoo.distribute.strategy import Devices, Placement, choose_strategy, hardware
from zoo.errors import UsageError, ZooError, nearest, reason
from zoo.fields import ReadOnlyDict
from zoo.paths import user_path
from zoo.recipe import GradientRecipe, Recipe, load_recipe
from zoo.report import plots
from zoo.tasks.base import Task
from zoo.tasks.table import create_task
from zoo.training import memory, outcome, run_folder
from zoo.training.export import build_model, export_precision, resolve_precision, write_export
from zoo.training.optimizers import divide_epoch
from zoo.training.training import SAVE_SECONDS, Training


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its metrics, its export (None after a dry run) and the model itself (None where the
    run had been finished before)."""

    folder: Path
    metrics: Mapping[str, float]
    export: Path | None
    model: keras.Model | None = None


VERSIONS = {f"the version of {package.__name__}": package.__version__ for package in (zoo, tf, keras)}
DRY_RUN_EXAMPLES = 50  # of each split that a dry run evaluates


def run(
    recipe: Recipe | str,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    restart: bool = False,
    dry_run: bool = False,
    devices: Devices | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_seconds: float = SAVE_SECONDS,
    check_export: bool = True,
    data: Mapping[str, Any] | None = None,
) -> Result:
    """Trains, evaluates and exports what a recipe describes.

    Everything is written to the run's folder, `run_dir` or `runs/NAME/seedS-FINGERPRINT`. A run that was stopped or
    killed resumes from its last checkpoint and ends with the weights it would have had; a finished one is only
    reported.

    Args:
      recipe: what to run; a string is the name of a shipped recipe.
      run_dir: another folder for the run.
      restart: delete what the folder holds and start again.
      dry_run: build everything, train two steps on small batches, evaluate a part of the data, export, and delete it
        all.
      devices: where to run; by default on the devices that are available.
      callbacks: Keras callbacks of your own, called before the engine's.
      save_seconds: seconds between two checkpoints. A killed run loses at most this time and one execution.
      check_export: load the export in a fresh process without the zoo and compare its answers with the model's.
      data: for image classification, arrays or `tf.data.Dataset`s instead of the recipe's data set, as
        `zoo.data.arrays.array_splits` takes them: `{"train": (images, labels), "test": (images, labels)}`. The recipe's
        dataset becomes "arrays". A run resumes only with the same data.

    Raises:
      UsageError: an unknown name or an invalid value in the recipe.
      ZooError: the data, the disk or the training fails; the message says how and what to do.
    """
    _check_keras()
    flags = {"restart": restart, "dry_run": dry_run, "check_export": check_export}
    _check_options(flags, run_dir, devices, callbacks, save_seconds)
    recipe = load_recipe(recipe) if isinstance(recipe, str) else recipe
    if not isinstance(recipe, Recipe):
        raise UsageError(f"run takes a recipe, or the name of a shipped one, and not {recipe!r}.")
    if data is not None:
        recipe = replace(recipe, dataset="arrays")
    options = {"callbacks": callbacks, "save_seconds": save_seconds, "check_export": check_export, "data": data}
    if dry_run:
        with tempfile.TemporaryDirectory(prefix="zoo-dry-run-") as scratch:
            job = Run(recipe, Path(scratch), devices, **options)
            job.shorten()
            result = job.go()
        job.log(f"Dry run of {recipe.name} finished: built, trained for 2 steps, evaluated, exported and deleted.")
        return Result(result.folder, result.metrics, None, result.model)
    own = Path("runs", recipe.name)
    folder = user_path(run_dir or own / f"seed{recipe.seed}-{recipe.fingerprint()}")
    job = Run(recipe, folder, devices, restart=restart, **options)
    if not run_dir and job.placement.chief:
        run_folder.mention_finished(recipe, own, folder, job.log)
    result = job.go()
    if result.export:
        if not run_dir:
            run_folder.link_latest(own / "latest", folder)
        job.log(f"run:    {folder}\nexport: {result.export}")
    return result


def run_with_options(recipe: Recipe, options: Any, **own: Any) -> Result:
    """`run` with the dictionary `options` that a caller was given, which may not have the caller's `own` arguments.

    Raises `UsageError` for another type and for what is no argument of `run`.
    """
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"options is {options!r}; it must be a dictionary of arguments of zoo.run.")
    known = [name for name in inspect.signature(run).parameters if name != "recipe" and name not in own]
    for key in options or ():
        if key in own:
            raise UsageError(f"options has {key!r}, which is an argument of its own; give it beside options.")
        if key not in known:
            raise UsageError(f"options has {key!r}, which zoo.run does not take. {nearest(str(key), known)}")
    return run(recipe, **own, **(options or {}))


def _check_keras() -> None:
    """Raises `UsageError` for settings of Keras with which training cannot work, or would end early."""
    if keras.backend.backend() != "tensorflow":
        raise UsageError(
            f"Keras uses the backend {keras.backend.backend()!r}; runs need TensorFlow. Set KERAS_BACKEND=tensorflow."
        )
    if tf.config.functions_run_eagerly():
        raise UsageError("TensorFlow runs functions eagerly; call tf.config.run_functions_eagerly(False).")
    limits = {"max_epochs": keras.config.max_epochs(), "max_steps_per_epoch": keras.config.max_steps_per_epoch()}
    for name, limit in limits.items():
        if limit is not None:
            raise UsageError(
                f"Keras's {name} is {limit}, so that training would end early; unset KERAS_{name.upper()}, and use "
                "--limit-steps for a short run."
            )


def _check_options(flags: Mapping[str, Any], run_dir: Any, devices: Any, callbacks: Any, save_seconds: Any) -> None:
    """Raises `UsageError` for an option of `run` of a wrong type."""
    listed = isinstance(callbacks, (list, tuple))
    scheduling = keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau
    checks = {
        **{name: (type(value) is bool, value, "True or False") for name, value in flags.items()},
        "run_dir": (run_dir is None or isinstance(run_dir, (str, os.PathLike)), run_dir, "a path"),
        "devices": (devices is None or isinstance(devices, Devices), devices, "a zoo.Devices"),
        "callbacks": (
            listed and all(isinstance(callback, keras.callbacks.Callback) for callback in callbacks),
            callbacks,
            "a list of Keras callbacks",
        ),
        "save_seconds": (
            isinstance(save_seconds, numbers.Real) and type(save_seconds) is not bool and save_seconds >= 0,
            save_seconds,
            "a number, 0 or more",
        ),
    }
    for name, (right, value, expected) in checks.items():
        if not right:
            raise UsageError(f"{name} is {value!r}; it must be {expected}.")
    for callback in callbacks:
        if isinstance(callback, scheduling):
            raise UsageError(
                f"callbacks has a {type(callback).__name__}, and the learning rate of a run is that of its recipe; set "
                "its schedule, such as schedule='piecewise'."
            )


def _log(text: str) -> None:
    print(text, flush=True)


class Run:
    """A recipe with the devices it runs on and the folder it writes."""

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        devices: Devices | None = None,
        *,
        restart: bool = False,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        save_seconds: float = SAVE_SECONDS,
        check_export: bool = True,
        data: Mapping[str, Any] | None = None,
    ):
        self.recipe, self.folder, self.restart = recipe, folder, restart
        self.callbacks, self.save_seconds, self.check_export = callbacks, save_seconds, check_export
        self.task: Task = create_task(recipe, self._log_of_chief)
        if data is not None and not self.task.takes_arrays:
            raise UsageError(f"{recipe.name}: the task {recipe.task} takes no data=; set dataset instead.")
        self.task.given = data
        self.placement: Placement = choose_strategy(devices or Devices())
        self.precision = resolve_precision(recipe, self.placement.kind)
        self.log: Callable[[str], None] = self._log_of_chief
        self.short = self.claimed = False

    def shorten(self) -> None:
        """Makes this a dry run: two steps on small batches, and a part of the evaluation data."""
        self.short = True
        if isinstance(self.recipe, GradientRecipe):
            parts = self.recipe.accumulate_steps * self.placement.replicas
            batch_size = min(self.recipe.batch_size, parts * math.ceil(8 / parts))
            self.recipe = self.task.recipe = replace(self.recipe, limit_steps=2, batch_size=batch_size)

    def _log_of_chief(self, text: str) -> None:
        if self.placement.chief:
            _log(text)

    def go(self) -> Result:
        """Runs the recipe, or reports a finished run."""
        made = run_folder.missing(self.folder)
        try:
            with self.naming_faults(), contextlib.ExitStack() as held:
                if self.placement.monitor:
                    held.callback(self.placement.monitor.stop)
                return self._go(held)
        except ZooError:
            if self.claimed:  # if not, the folder may be another process's
                run_folder.remove(made)
            raise
        except tf.errors.OpError as error:
            if not self.placement.monitor:
                raise
            self.placement.monitor.raise_if_lost(error)
        except BrokenPipeError as error:
            raise ZooError(
                "The program that read the output has ended. Run the same command to resume, with > FILE to keep what "
                "it prints."
            ) from error
        except OSError as error:  # in anything that is read or written, TensorBoard's logs and pictures included
            raise ZooError(
                f"{error.filename or self.folder}: {reason(error)}. Fix this and run the same command to resume."
            ) from error

    @contextlib.contextmanager
    def naming_faults(self) -> Iterator[None]:
        """Raises what the task finds wrong with its data in place of TensorFlow's error."""
        try:
            yield
        except tf.errors.OpError as error:
            if fault := self.task.find_fault(error):
                raise fault from error
            raise

    def _go(self, held: contextlib.ExitStack) -> Result:
        recipe, placement = self.recipe, self.placement
        self._check_batch_size()
        placement.check_agreement(
            {
                **recipe.to_dict(),
                "precision": self.precision,
                "restart": self.restart,
                "dry_run": self.short,
                **VERSIONS,
            }
        )
        restart = self.restart and placement.broadcast_flag(self.folder.exists())
        if not restart:
            self._claim(held)
            if placement.broadcast_flag((self.folder / "result.json").exists()):
                return self._finished()
        keras.utils.set_random_seed(recipe.seed)
        if recipe.deterministic:
            tf.config.experimental.enable_op_determinism()
        with placement.strategy.scope():
            model = self.prepare()
        parent = self.task.parent.origin() if self.task.parent else None
        data = {key: value for key, value in self.task.data_fingerprint.items() if key != "source"}
        placement.check_agreement({"the data": data, "weights": parent})
        if restart:  # only now, so that a mistake in the command does not lose what is there
            self._claim(held)
        if placement.chief:
            run_folder.check_data(self.folder, self.task.data_fingerprint)
            if parent:
                run_folder.check_parent(self.folder, parent)
        self.log(f"{model.name}: {model.count_params():,} weights; in {self.precision} on {hardware()}")
        self.log(f"strategy: {placement.why}")
        if (begun := run_folder.begun_in(self.folder) or self.precision) != self.precision:
            self.log(
                f"warning: the run was begun in {begun} on other devices and goes on in {self.precision}; its weights "
                "will differ from those of an uninterrupted run"
            )
        if placement.replicas > 1 and isinstance(recipe, GradientRecipe):
            self.log(placement.share_of(recipe.batch_size))
        if self.precision == "float16" and not tf.config.list_physical_devices("GPU"):
            self.log("warning: float16 is slow on a CPU, which computes in float32 and converts; omit --precision")
        self._check_resources(model)
        training = self.training(model)
        self.task.fit(training)
        result = self._finish(model, training) if placement.chief else Result(self.folder, {}, None)
        placement.done()
        return result

    def _claim(self, held: contextlib.ExitStack) -> None:
        """Makes the folder this run's; `held` keeps it from other processes."""
        if self.placement.chief:
            if self.restart and self.folder.exists():
                with run_folder.reserved(self.folder):
                    run_folder.empty(self.folder)
            run_folder.claim(self.folder, self.recipe, {"strategy": self.placement.why, "precision": self.precision})
            held.enter_context(run_folder.reserved(self.folder))
            self.claimed = True
        self.placement.wait_for_all()

    def _check_batch_size(self) -> None:
        if not isinstance(self.recipe, GradientRecipe):
            return
        parts, replicas = self.recipe.accumulate_steps, self.placement.replicas
        if self.recipe.batch_size < replicas * parts:
            raise UsageError(
                f"batch_size is {self.recipe.batch_size}; with {replicas} replicas and accumulate_steps={parts} it "
                f"must be at least {replicas * parts}."
            )

    def _check_resources(self, model: keras.Model) -> None:
        """Warns of settings that cannot work on this data; raises `ZooError` if training does not fit in memory."""
        recipe = self.recipe
        if not isinstance(recipe, GradientRecipe):
            return
        examples = self.task.train_examples
        steps = recipe.limit_steps or recipe.total_steps(divide_epoch(recipe, examples)[0])
        if examples < recipe.batch_size and not self.short:
            self.log(
                f"warning: batch_size is {recipe.batch_size:,} and there are {examples:,} training examples, so that "
                f"each epoch is one step, {steps:,} in all; use --batch-size {max(1, examples // 4):,} or less"
            )
        span = 1 / (1 - recipe.average_momentum)
        if recipe.keep == "average" and steps < 3 * span and not self.short:
            self.log(
                f"warning: keep=average spans about {span:,.0f} steps and the run has {steps:,}, so that the average "
                f"still holds the initial weights; use --average-momentum {max(0.0, 1 - 5 / steps):.3f} or --keep last"
            )
        share = -(-recipe.batch_size // (self.placement.replicas * recipe.accumulate_steps))
        memory.check(model, recipe, share, bytes_per_value=2 if self.precision in ("bfloat16", "float16") else 4)

    def prepare(self) -> keras.Model:
        """Loads the task's data and builds the model that it trains."""
        self.task.prepare()
        if self.short:
            self.task.shorten(DRY_RUN_EXAMPLES)
        model = build_model(self.task, self.precision)
        recipe = self.recipe
        if isinstance(recipe, GradientRecipe) and recipe.weights is None:
            self.task.adapt(model)
        self.task.load_parent(model)
        if isinstance(recipe, GradientRecipe):
            if recipe.sync_batch_norm and self.placement.replicas > 1:
                for layer in model.layers:
                    if isinstance(layer, keras.layers.BatchNormalization):
                        layer.synchronized = True
            for key, value in (("keep", recipe.keep), ("early_stopping", recipe.early_stopping)):
                if value not in ("last", "average", None) and self.task.validation_batches() is None:
                    raise UsageError(
                        f"{recipe.name}: {key} is {value!r}, but there is no validation split; set validation_examples."
                    )
        return model

    def training(self, model: keras.Model) -> Training:
        """The training of a model that `prepare` returned."""
        return Training(
            self.recipe,
            self.task,
            model,
            self.folder,
            self.placement,
            callbacks=self.callbacks,
            save_seconds=self.save_seconds,
            log=self.log,
        )

    def _finish(self, model: keras.Model, training: Training) -> Result:
        """Scores and exports the trained model, in one process and on one device, and not in half precision."""
        precision = export_precision(self.recipe)
        if self.placement.replicas > 1 or self.precision != precision:  # the same model on one device, or in single
            trained, model = model, build_model(self.task, precision)
            for variable, value in zip(model.variables, trained.variables, strict=True):
                variable.assign(value.numpy())
        model = self.task.inference_model(model)
        self.log("Evaluating")
        metrics = self.task.evaluate(model, self.folder)
        self.log("Exporting, and checking the export in a fresh process" if self.check_export else "Exporting")
        base = self.folder / "export" / self.recipe.name
        exported = write_export(self.task, model, base, metrics, check=self.check_export)
        self._draw(training)
        outcome.write(self, metrics, training, exported)
        outcome.show(self.recipe, metrics)
        return Result(self.folder, ReadOnlyDict(metrics), exported, model)

    def _draw(self, training: Training) -> None:
        """Draws the pictures. One that fails is a warning: the export is what counts."""
        pictures = {"curves.png": lambda path: plots.curves(training.rows, path)} if training.rows else {}
        try:
            pictures |= self.task.pictures()
        except Exception as error:  # of a task of one's own
            self.log(f"warning: the pictures of {self.recipe.task} could not be prepared ({reason(error)})")
        for name, draw in pictures.items():
            try:
                draw(self.folder / name)
            except Exception as error:  # Matplotlib raises many kinds, for a class name that it reads as a formula
                self.log(f"warning: the picture {name} could not be drawn ({reason(error)})")

    def _finished(self) -> Result:
        own = ":" in self.recipe.dataset or self.recipe.dataset == "arrays"  # which may be others now
        if own and (self.folder / "data.json").exists():
            self.task.log = lambda text: None
            self.task.prepare()
            run_folder.check_data(self.folder, self.task.data_fingerprint)
        result = run_folder.read_json(self.folder / "result.json")
        exported = self.folder / result["export"]
        if not exported.is_dir():
            raise ZooError(f"{self.folder} holds a finished run without its export. Train it again with --restart.")
        self.log(f"{self.folder} holds this run, which is finished. To train again: --restart.")
        if self.placement.chief:
            outcome.show(self.recipe, result["metrics"])
        self.placement.done()
        return Result(self.folder, ReadOnlyDict(result["metrics"]), exported)
