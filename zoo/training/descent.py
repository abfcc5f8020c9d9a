"""Gradient descent with Keras's own loop, which can be killed at any step and resumed with the same result."""

import sys
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from zoo.distribute.sharding import shard_batches
from zoo.distribute.strategy import Placement
from zoo.layers import CharacterEncoder
from zoo.paths import literal_path
from zoo.recipe import GradientRecipe, list_recipes, load_recipe
from zoo.training import optimizers, phases
from zoo.training.callbacks import Progress
from zoo.training.lookahead import Lookahead
from zoo.training.step import Trainer
from zoo.training.training import Interrupted, Training


class GradientDescent:
    """Fits the model of a `Training` as the fields of its `GradientRecipe` say."""

    def __init__(self, run: Training):
        self.run, self.recipe, self.task, self.placement = run, run.recipe, run.task, run.placement
        recipe: GradientRecipe = self.recipe
        self.steps_per_epoch, self.execution = optimizers.divide_epoch(recipe, self.task.train_examples)
        self.total = recipe.steps(self.steps_per_epoch)
        self.frozen_steps = recipe.frozen_epochs * self.steps_per_epoch
        run.planned_steps = self._planned_steps()
        head = self.task.head(run.model) if recipe.frozen_epochs and not recipe.frozen else ()
        self._first_frozen = phases.frozen_paths(recipe, run.model, head)
        self._frozen_after = phases.frozen_after(recipe, run.model, self.steps_per_epoch)
        self.model = self._trainer(run.model)
        run.counter = self.model.optimizer.iterations.value
        self.best = [tf.Variable(v.value) for v in self.model.variables] if recipe.keep == "best" else []
        self.best_value: float | None = None
        self.ended = False  # before the recipe's last step, because a callback or early stopping said so
        # The state of all replicas together, so that a run can resume on another number of them.
        self.streams = {
            name: tf.Variable(value, trainable=False) for name, value in self.model.gathered_state().items()
        }
        self.resumed_metrics: list[Any] | None = None

    def _planned_steps(self) -> int:
        """Steps of the whole training as the recipe's script has it; a run may be told to stop earlier."""
        plan = load_recipe(self.recipe.name) if self.recipe.name in list_recipes() else self.recipe
        return plan.steps(self.steps_per_epoch)

    def _trainer(self, net: keras.Model) -> Trainer:
        recipe, paths = self.recipe, [weight.path for weight in net.trainable_variables]
        decayed = optimizers.decay_factors(recipe, paths)
        undecayed = [weight for weight in net.trainable_variables if weight.path not in decayed]
        depths = phases.depths(net) if recipe.depth_decay < 1 else None
        compiled = uses_xla(recipe, self.placement)
        for layer in net.layers:
            if isinstance(layer, CharacterEncoder):  # its blocks depend on the data, which XLA cannot compile
                layer.bucket_by_length = not compiled
        with self.placement.strategy.scope():
            model = Trainer(
                net,
                self.task,
                weight_decay=0.0 if recipe.optimizer == "adamw" else recipe.weight_decay,
                decayed={} if recipe.optimizer == "adamw" else decayed,
                accumulate_steps=recipe.accumulate_steps,
                streams=self._stream_counts(net),
                lookahead=self._lookahead(net),
            )
            model.compile(
                optimizer=optimizers.optimizer(recipe, self.steps_per_epoch, paths, depths, undecayed),
                jit_compile=compiled,
                steps_per_execution=self.execution,
            )
            model.optimizer.build(model.trainable_variables)  # a checkpoint restores into its variables
        return model

    def _lookahead(self, net: keras.Model) -> Lookahead | None:
        recipe = self.recipe
        if not recipe.lookahead_steps:
            return None
        return Lookahead(
            net.variables,
            every=recipe.lookahead_steps,
            decay=recipe.lookahead_decay,
            power=recipe.lookahead_power,
            total=recipe.total_steps(self.steps_per_epoch),
        )

    def ends_epoch(self, step: int) -> bool:
        """Whether the epoch ends with this step; the last epoch may be shorter than the others."""
        return step % self.steps_per_epoch == 0 or step == self.total

    def frozen_at(self, step: int) -> set[str]:
        """The paths of the weights that stay fixed from this step to the end of its phase."""
        first = self._first_frozen if step < self.frozen_steps else set()
        return first | {path for path, end in self._frozen_after.items() if end <= step}

    def _stream_counts(self, net: keras.Model) -> tuple[int, int]:
        """The rows of training and validation batches, where the task carries state."""
        if not self.task.state(net):
            return 0, 0
        validation = self.task.validation_batches()
        spec = None if validation is None else tf.nest.flatten(validation.element_spec["inputs"])[0]
        return self.recipe.batch_size, 0 if spec is None else spec.shape[0]

    def fit(self) -> None:
        """Trains to the recipe's last step. Raises `Interrupted` when the user stops it."""
        if self.restore():
            return
        try:
            for segment in self._segments():
                if self.ended:
                    break
                self._fit(*segment)
        except KeyboardInterrupt:
            step = self.run.step
            if self.placement.multi_worker:  # the workers are at different steps
                where = "from the last checkpoint"
            elif not self.ends_epoch(step) or (self.run.rows[-1]["step"] if self.run.rows else 0) == step:
                self.save()
                where = "from there"
            else:  # during validation, so that the epoch has no row yet
                where = "from the last checkpoint" if self.run.latest_checkpoint else "from its beginning"
            raise Interrupted(
                f"Stopped at step {step:,} of {self.total:,}. Run the same command to resume {where} "
                f"({self.run.folder})."
            ) from None
        self.model.freeze(())
        if self.model.lookahead:
            self.model.lookahead.finish()
        if self.recipe.keep == "average":
            self.model.optimizer.take_average(self.model.trainable_variables)
        if self.best:
            for variable, value in zip(self.model.variables, self.best, strict=True):
                variable.assign(value)
        self.save(finished=True)

    def stalled(self) -> bool:
        """Whether the monitored metric has not improved for as many epochs as the recipe allows."""
        patience, (metric, direction) = self.recipe.early_stopping, self.task.monitor
        values = [row[metric] for row in self.run.rows if row["step"] > self.frozen_steps and metric in row]
        if patience is None or len(values) <= patience:
            return False
        best = max if direction == "max" else min
        return best(values[:-patience]) == best(values)

    def _segments(self) -> list[tuple[int, int, int]]:
        """What is left to do, as calls of `fit`: the first epoch, the epoch to end before, the steps of each."""
        step, segments = self.run.step, []
        ends = {self.frozen_steps, self.total, *self._frozen_after.values()}
        for end in sorted({min(end, self.total) for end in ends}):  # the ends of the phases
            segments += self._segments_to(step, end)
            step = max(step, end)
        return segments

    def _segments_to(self, step: int, end: int) -> list[tuple[int, int, int]]:
        size, segments = self.steps_per_epoch, []
        if step % size and step < end:  # the rest of the epoch in which the run was stopped
            steps = min(size - step % size, end - step)
            segments.append((step // size, step // size + 1, steps))
            step += steps
        if whole := max(0, end - step) // size:
            segments.append((step // size, step // size + whole, size))
            step += whole * size
        if step < end:  # limit_steps or a fraction of epochs ends within an epoch
            segments.append((step // size, step // size + 1, end - step))
        return segments

    def _fit(self, first_epoch: int, epochs: int, steps: int) -> None:
        validation = self.task.validation_batches()
        batch_size = self.recipe.batch_size
        self.model.freeze(self.frozen_at(self.run.step))
        batches = self.task.training_batches(self.run.step, self.placement.rows_of(batch_size))
        verbose = "auto" if sys.stdout.isatty() else 2
        self.model.fit(
            shard_batches(batches, self.placement, batch_size),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=None if validation is None else shard_batches(validation, self.placement),
            validation_steps=None if validation is None else int(validation.cardinality()),
            callbacks=self._callbacks(),
            shuffle=False,
            verbose=verbose if self.placement.chief else 0,
        )

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        callbacks = [*self.run.callbacks, *self.task.callbacks(), Progress(self)]
        if self.placement.chief:
            callbacks.append(
                keras.callbacks.TensorBoard(str(literal_path(self.run.folder) / "tensorboard"), write_graph=False)
            )
        return callbacks

    def save(self, *, finished: bool = False) -> None:
        """Writes a checkpoint."""
        for name, value in self.model.gathered_state().items():
            self.streams[name].assign(value)
        self.run.save(finished=finished, best_value=self.best_value, ended=self.ended)

    def save_periodically(self) -> None:
        """Writes a checkpoint if the last one is old enough."""
        if self.run.save_is_due():
            self.save()

    def restore(self) -> bool:
        """Restores the last checkpoint, if there is one. True if it is that of a finished training."""
        saved = self.run.restore(
            {
                "optimizer": [v.value for v in self.model.optimizer.variables],
                "metrics": [v.value for v in self.model.metrics_variables],
                "best": self.best,
                "streams": self.streams,
                **({"lookahead": self.model.lookahead.slow} if self.model.lookahead else {}),
            }
        )
        if saved is None:
            return False
        self.model.scatter_state({name: value.numpy() for name, value in self.streams.items()})
        self.best_value, self.ended = saved["best_value"], saved.get("ended", False)
        if not saved["finished"]:
            epoch, done = divmod(self.run.step, self.steps_per_epoch)
            self.run.log(
                f"Resuming from step {self.run.step:,} of {self.total:,} (epoch {epoch + 1}, step {done:,}), "
                f"{self.run.folder}"
            )
            self.resumed_metrics = [v.numpy() for v in self.model.metrics_variables] if done else None
        return saved["finished"]

    def record(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Adds the row of an epoch, and keeps the weights if they are the best."""
        row = {
            "epoch": epoch + 1,
            "step": self.run.step,
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
        }
        row.update({key: float(value) for key, value in logs.items() if key != "learning_rate"})
        self.run.record(row)
        if not self.best:
            return
        metric, direction = self.task.monitor
        value = float(logs[metric])
        better = self.best_value is None or (value > self.best_value if direction == "max" else value < self.best_value)
        if better:
            self.best_value = value
            for kept, variable in zip(self.best, self.model.variables, strict=True):
                kept.assign(variable.value)


def uses_xla(recipe: GradientRecipe, placement: Placement) -> bool:
    """Whether to compile the training step: as the recipe says, or by device.

    XLA is faster on a GPU. On a CPU its convolutions and large products are slower than TensorFlow's own (see
    docs/performance.md), except for very small batches, whose recipes ask for it. Under mirrored strategies TensorFlow
    cannot compile a step; TPUs always compile. XLA does not compile deterministic operations.
    """
    if placement.replicas > 1 or recipe.deterministic:
        return False
    if recipe.jit_compile is not None:
        return recipe.jit_compile
    return bool(tf.config.list_physical_devices("GPU"))
