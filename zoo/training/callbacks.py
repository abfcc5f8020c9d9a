"""What a training does between its steps and at the ends of its epochs."""

import math
from typing import TYPE_CHECKING

import keras

from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.training.descent import GradientDescent


class Progress(keras.callbacks.Callback):
    """Stops on a non-finite loss, saves checkpoints periodically, records each epoch."""

    def __init__(self, descent: "GradientDescent"):
        super().__init__()
        self.descent = descent
        self.good_step = descent.run.step

    def set_params(self, params):
        # `fit` is called for each part of a run, and Keras prints "Epoch 3/…" with the part's last epoch.
        params["epochs"] = math.ceil(self.descent.total / self.descent.steps_per_epoch)
        super().set_params(params)

    def on_epoch_begin(self, epoch, logs=None):
        # Keras has just reset the metrics; in the middle of an epoch they continue from the checkpoint's.
        values, self.descent.resumed_metrics = self.descent.resumed_metrics, None
        if values is not None:
            for variable, value in zip(self.model.metrics_variables, values, strict=True):
                variable.assign(value)

    def on_test_begin(self, logs=None):
        self.model.prepare_validation()

    def on_train_batch_end(self, batch, logs=None):
        step = self.descent.run.step
        if not math.isfinite(logs["loss"]):
            where = (
                f"at step {step:,}"
                if step - self.good_step == 1
                else f"between steps {self.good_step + 1:,} and {step:,}"
            )
            last = self.descent.run.latest_checkpoint
            kept = f"The last good checkpoint is {last}." if last else "No checkpoint was written yet."
            raise ZooError(
                f"Loss is not finite (NaN or Inf): {float(logs['loss'])} {where}. {kept} Try a smaller --learning-rate."
            )
        self.good_step = step
        if not self.descent.ends_epoch(step):  # the last step of an epoch is saved with its row, after validation
            self.descent.save_periodically()

    def on_epoch_end(self, epoch, logs=None):
        self.descent.record(epoch, logs)
        if self.descent.stalled():
            self.descent.run.log(
                f"Stopped early after epoch {epoch + 1}: {self.descent.task.monitor[0]} has not improved for "
                f"{self.descent.recipe.early_stopping} epochs."
            )
            self.model.stop_training = True
        self.descent.ended = self.model.stop_training  # the user's and the task's callbacks come before this one
        self.descent.save_periodically()
