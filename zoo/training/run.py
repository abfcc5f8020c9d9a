"""One run of a recipe, from its data to its export: `run(recipe)`."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from zoo.building import build
from zoo.distribute.strategy import Devices, Placement, choose_strategy, hardware
from zoo.errors import UsageError, ZooError, reason
from zoo.exports import write
from zoo.recipe import GradientRecipe, Recipe
from zoo.report import console, plots
from zoo.tasks.base import Task, create_task
from zoo.training import run_folder
from zoo.training.training import SAVE_SECONDS, Training


@dataclass(frozen=True)
class Result:
    """A finished run: its folder, its metrics, its export (None after a dry run) and the model itself."""

    folder: Path
    metrics: Mapping[str, float]
    export: Path | None
    model: keras.Model | None = None


def run(
    recipe: Recipe,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    restart: bool = False,
    dry_run: bool = False,
    devices: Devices | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    save_seconds: float = SAVE_SECONDS,
    check_export: bool = True,
) -> Result:
    """Trains, evaluates and exports what a recipe describes.

    Everything is written to the run's folder, `run_dir` or `runs/NAME/seedS-FINGERPRINT`. A run that was stopped or
    killed resumes from its last checkpoint and ends with the weights it would have had; a finished one is only
    reported.

    Args:
      recipe: what to run.
      run_dir: another folder for the run.
      restart: delete what the folder holds and start again.
      dry_run: build everything, train two steps, evaluate, export, and delete it all.
      devices: where to run; by default on the devices that are available.
      callbacks: Keras callbacks of your own, called before the engine's.
      save_seconds: seconds between two checkpoints. A killed run loses at most this time and one execution.
      check_export: load the export in a fresh process without the zoo and compare its answers with the model's.

    Raises:
      UsageError: an unknown name or an invalid value in the recipe.
      ZooError: the data, the disk or the training fails; the message says how and what to do.
    """
    options = {"callbacks": callbacks, "save_seconds": save_seconds, "check_export": check_export}
    if dry_run:
        short = replace(recipe, limit_steps=2) if isinstance(recipe, GradientRecipe) else recipe
        with tempfile.TemporaryDirectory(prefix="zoo-dry-run-") as scratch:
            result = Run(short, Path(scratch), devices, **options).go()
        _log(f"Dry run of {recipe.name} finished: built, trained for 2 steps, evaluated, exported and deleted.")
        return Result(result.folder, result.metrics, None, result.model)
    folder = Path(run_dir or Path("runs", recipe.name, f"seed{recipe.seed}-{recipe.fingerprint()}"))
    job = Run(recipe, folder, devices, restart=restart, **options)
    result = job.go()
    if result.export:
        job.log(f"run:    {folder}\nexport: {result.export}")
    return result


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
    ):
        self.recipe, self.folder, self.restart = recipe, folder, restart
        self.callbacks, self.save_seconds, self.check_export = callbacks, save_seconds, check_export
        self.task: Task = create_task(recipe, self._log_of_chief)
        self.placement: Placement = choose_strategy(devices or Devices())
        self.precision = resolve_precision(recipe, self.placement.kind)
        self.log: Callable[[str], None] = self._log_of_chief

    def _log_of_chief(self, text: str) -> None:
        if self.placement.chief:
            _log(text)

    def go(self) -> Result:
        """Runs the recipe, or reports a finished run."""
        try:
            return self._go()
        except tf.errors.OpError as error:
            if not self.placement.monitor:
                raise
            self.placement.monitor.raise_if_lost(error)
        except OSError as error:  # in anything that is read or written, TensorBoard's logs and pictures included
            raise ZooError(
                f"{error.filename or self.folder}: {reason(error)}. Fix this and run the same command to resume."
            ) from error

    def _go(self) -> Result:
        recipe, placement = self.recipe, self.placement
        self._check_batch_size()
        if placement.chief:
            if self.restart:
                run_folder.empty(self.folder)
            run_folder.claim(self.folder, recipe, placement.why)
        placement.wait_for_all()
        if placement.broadcast_flag((self.folder / "result.json").exists()):
            return self._finished()
        keras.utils.set_random_seed(recipe.seed)
        if recipe.deterministic:
            tf.config.experimental.enable_op_determinism()
        with placement.strategy.scope():
            model = self.prepare()
        self.log(f"{model.name}: {model.count_params():,} weights; on {hardware()}")
        self.log(f"strategy: {placement.why}")
        if placement.replicas > 1 and isinstance(recipe, GradientRecipe):
            self.log(placement.share_of(recipe.batch_size))
        if self.precision == "float16" and not tf.config.list_physical_devices("GPU"):
            self.log("warning: float16 is slow on a CPU, which computes in float32 and converts; omit --precision")
        training = self.training(model)
        self.task.fit(training)
        result = self._finish(model, training) if placement.chief else Result(self.folder, {}, None)
        placement.done()
        return result

    def _check_batch_size(self) -> None:
        if not isinstance(self.recipe, GradientRecipe):
            return
        parts, replicas = self.recipe.accumulate_steps, self.placement.replicas
        if self.recipe.batch_size < replicas * parts:
            raise UsageError(
                f"batch_size is {self.recipe.batch_size}; with {replicas} replicas and accumulate_steps={parts} it "
                f"must be at least {replicas * parts}."
            )

    def prepare(self) -> keras.Model:
        """Loads the task's data and builds the model that it trains."""
        self.task.prepare()
        model = self._build()
        recipe = self.recipe
        if isinstance(recipe, GradientRecipe):
            if recipe.sync_batch_norm and self.placement.replicas > 1:
                for layer in model.layers:
                    if isinstance(layer, keras.layers.BatchNormalization):
                        layer.synchronized = True
            if recipe.keep == "best" and self.task.validation_batches() is None:
                raise UsageError(
                    f"{recipe.name}: keep is 'best', but there is no validation split; set validation_examples."
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

    def _build(self) -> keras.Model:
        arguments = {**self.task.model_args(), **self.recipe.model_args}
        policy = self.precision if self.precision in ("float32", "float64") else f"mixed_{self.precision}"
        return build(self.recipe.model, dtype=policy, **arguments)

    def _finish(self, model: keras.Model, training: Training) -> Result:
        """Scores and exports the trained model, in one process and on one device."""
        if self.placement.replicas > 1:  # the same model with variables on one device
            trained, model = model, self._build()
            for variable, value in zip(model.variables, trained.variables, strict=True):
                variable.assign(value.numpy())
        model = self.task.inference_model(model)
        self.log("Evaluating")
        metrics = self.task.evaluate(model, self.folder)
        self.log("Exporting, and checking the export in a fresh process" if self.check_export else "Exporting")
        exported = write.write(
            self.folder / "export" / self.recipe.name,
            self.task.serving(model),
            model,
            self.recipe,
            self.task.card,
            self.task.serving_examples(),
            metrics,
            {**self.recipe.model_args, **self.task.model_args()},
            labels=self.task.labels(),
            check=self.check_export,
        )
        self._draw(training)
        self._write_result(metrics, training, exported)
        self._print(metrics)
        return Result(self.folder, MappingProxyType(metrics), exported, model)

    def _draw(self, training: Training) -> None:
        """Draws the pictures. One that fails is a warning: the export is what counts."""
        pictures = {"curves.png": lambda path: plots.curves(training.rows, path)} if training.rows else {}
        for name, draw in {**pictures, **self.task.pictures()}.items():
            try:
                draw(self.folder / name)
            except Exception as error:  # Matplotlib raises many kinds, for a class name that it reads as a formula
                self.log(f"warning: the picture {name} could not be drawn ({reason(error)})")

    def _finished(self) -> Result:
        result = run_folder.read_json(self.folder / "result.json")
        exported = self.folder / result["export"]
        self.log(f"{self.folder} holds this run, which is finished. To train again: --restart.")
        if self.placement.chief:
            self._print(result["metrics"])
        self.placement.done()
        return Result(self.folder, MappingProxyType(result["metrics"]), exported)

    def _write_result(self, metrics: dict[str, float], training: Training, exported: Path) -> None:
        recipe, setting = self.recipe, run_folder.environment()
        versions = setting["versions"]
        common = {
            "recipe": recipe.name,
            "model": _call(recipe),
            "seed": recipe.seed,
            "dataset": recipe.data,
            "steps": training.step,
            "planned_steps": training.planned_steps or training.step,
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
        run_folder.write_json(self.folder / "result.json", result)

    def _print(self, metrics: Mapping[str, float]) -> None:
        rows = [
            (
                metric.replace("_", " "),
                console.format_metric(metric, value),
                console.format_metric(metric, self.recipe.paper.get(metric)),
            )
            for metric, value in metrics.items()
        ]
        console.table(f"{self.recipe.name} (seed {self.recipe.seed})", ("metric", "ours", "paper"), rows)


def resolve_precision(recipe: Recipe, kind: str) -> str:
    """The type that a recipe's model computes in under a kind of strategy, such as "tpu"."""
    return recipe.precision or ("bfloat16" if kind == "tpu" else "float32")


def _call(recipe: Recipe) -> str:
    """The model with the arguments that the recipe gives it, written as a call."""
    arguments: Any = ", ".join(f"{key}={value!r}" for key, value in recipe.model_args.items())
    return f"{recipe.model}({arguments})" if arguments else recipe.model
