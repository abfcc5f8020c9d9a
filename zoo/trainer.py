"""Keras's own training loop under a task's loss and metrics."""

from typing import Any

import keras
from keras import ops


class Trainer(keras.Model):
    """A functional model, `Trainer(inputs, outputs)`, with one loss for all of its outputs together.

    Keras gives every output a loss and labels of its own; a task has one loss that sees them all.
    """

    def compile(self, *, task: Any, **options: Any) -> None:
        """As Keras's, but `task.loss(labels, outputs)` gives the loss of each example and `task.metrics()` the
        metrics, which see the labels and the logits."""
        self.task_loss = task.loss
        self.task_metrics = task.metrics()
        super().compile(**options)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = ops.mean(self.task_loss(y, y_pred))
        for penalty in self.losses:
            loss += ops.cast(penalty, loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for metric in self.task_metrics:
            metric.update_state(y, logits_of(y_pred))
        return self.get_metrics_result()


def logits_of(outputs: Any) -> Any:
    """The main output, where there are auxiliary ones beside it."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs


def without_auxiliary_heads(model: keras.Model) -> keras.Model:
    """The model that is scored and exported."""
    if not isinstance(model.output, dict):
        return model
    return keras.Model(model.inputs, logits_of(model.output), name=model.name)
