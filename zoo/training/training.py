"""The training of one run: its progress, its rows of metrics and its checkpoints. `Task.fit` gets it."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from zoo.distribute.strategy import Placement
from zoo.errors import STOPPED, ZooError, reason
from zoo.paths import literal_path, temporary_folder
from zoo.recipe import Recipe
from zoo.tasks.base import Log, Task
from zoo.training.run_folder import write_text

SAVE_SECONDS = 30.0  # between two checkpoints


class Interrupted(ZooError):
    """The user stopped the run; its progress is saved."""

    exit_status = STOPPED


class Training:
    """What a run does with its model, so that it can be killed at any time and resumed.

    A task that trains by gradient descent calls `descend`. Another one calls `restore`, `record` and `save` itself, and
    counts its steps in `counter`.
    """

    def __init__(
        self,
        recipe: Recipe,
        task: Task,
        model: keras.Model,
        folder: Path,
        placement: Placement,
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        save_seconds: float = SAVE_SECONDS,
        log: Log = print,
    ):
        self.recipe, self.task, self.model = recipe, task, model
        self.folder, self.placement, self.callbacks, self.log = folder, placement, callbacks, log
        self.save_seconds = save_seconds
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self.saved_at = self.started_at = time.monotonic()
        self.counter: Any = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.planned_steps: int | None = None
        self._state = tf.Variable("", dtype=tf.string)
        self._manager: tf.train.CheckpointManager | None = None

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.counter.numpy())

    @property
    def latest_checkpoint(self) -> Path | None:
        """The path of the last checkpoint that was written."""
        latest = self._manager.latest_checkpoint
        return None if latest is None else self.folder / "checkpoint" / Path(latest).name

    def descend(self) -> None:
        """Trains by gradient descent, as the recipe's fields say."""
        from zoo.training.descent import GradientDescent

        GradientDescent(self).fit()

    def restore(self, parts: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Restores the last checkpoint, if there is one, into the model, `counter` and `parts`.

        Args:
          parts: by name, lists or dicts of further variables that checkpoints hold; those of the counter and the model
            are included.

        Returns:
          None without a checkpoint; else what `save` was given, with "finished", whether the training is complete.

        Raises:
          ZooError: the checkpoint is of another model, or the workers do not see the same folder.
        """
        parts = {"model": [v.value for v in self.model.variables], "counter": [self.counter], **(parts or {})}
        checkpoint = tf.train.Checkpoint(state=self._state, **parts)
        # Every worker takes part in a checkpoint, as some of its values are on each; only the chief's is kept.
        shared = literal_path(self.folder)
        folder = shared if self.placement.chief else temporary_folder("zoo-worker-")
        self._manager = tf.train.CheckpointManager(checkpoint, str(folder / "checkpoint"), max_to_keep=2)
        latest = tf.train.latest_checkpoint(str(shared / "checkpoint"))
        if latest is None and any((shared / "checkpoint").glob("*.data-*")):
            raise ZooError(
                f"The checkpoint in {self.folder} has lost its index. Choose another --run-dir, or start again with "
                "--restart."
            )
        try:
            if latest is not None:
                checkpoint.restore(latest).assert_existing_objects_matched()
        except (ValueError, AssertionError, IndexError, tf.errors.OpError) as error:
            raise ZooError(
                f"The checkpoint {latest} does not fit this model ({reason(error)}). Choose another --run-dir, or "
                "start again with --restart."
            ) from error
        if self.step != (step := self.placement.broadcast_from_chief(self.step)):
            raise ZooError(
                f"The chief resumes from step {step:,}, but this worker finds step {self.step:,} in {self.folder}. All "
                "workers must see the same folder; choose another --run-dir."
            )
        saved = None
        if latest is not None:
            saved = json.loads(self._state.numpy().decode())
            self.rows, self.seconds = saved["rows"], saved["seconds"]
        if self.placement.chief:
            write_text(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in self.rows))
        return saved

    def save(self, *, finished: bool = False, **more: Any) -> None:
        """Writes a checkpoint with `more`, plain values for JSON. The checkpoint before stays until this one is
        complete."""
        now = time.monotonic()
        self.seconds, self.started_at = self.seconds + now - self.started_at, now
        state = {"rows": self.rows, "seconds": self.seconds, "finished": finished, **more}
        self._state.assign(json.dumps(state))
        try:
            self._manager.save(checkpoint_number=self._next_number())
        except (OSError, tf.errors.OpError) as error:
            if self.placement.multi_worker and isinstance(error, tf.errors.OpError):
                raise  # a checkpoint gathers from all workers, one of which may be lost
            before = "The previous checkpoint is intact. " if self.latest_checkpoint else ""
            raise ZooError(
                f"The checkpoint of step {self.step:,} cannot be written to {self.folder}: {reason(error)}. {before}"
                "Free some space and run the same command to resume."
            ) from error
        self.saved_at = time.monotonic()

    def _next_number(self) -> int:
        """The number of a new checkpoint: the step, or the next number where that one is taken."""
        latest = self._manager.latest_checkpoint
        return self.step if latest is None else max(self.step, int(latest.rpartition("-")[2]) + 1)

    def save_is_due(self) -> bool:
        """Whether the last checkpoint is older than `save_seconds`, by the chief's clock."""
        return self.placement.broadcast_flag(time.monotonic() - self.saved_at > self.save_seconds)

    def record(self, row: Mapping[str, float]) -> None:
        """Adds a row to metrics.jsonl. It must not hold times: a resumed run has the same rows."""
        self.rows.append(dict(row))
        path = self.folder / "metrics.jsonl" if self.placement.chief else Path(os.devnull)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(self.rows[-1]) + "\n")
        except OSError as error:
            raise ZooError(f"{path} cannot be written: {reason(error)}.") from error
