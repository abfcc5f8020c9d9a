"""Keras's own training loop under a task's loss and metrics."""

from collections.abc import Collection
from typing import Any

import keras
import tensorflow as tf
from keras import ops


class Trainer(keras.Model):
    """A net with one loss for all of its outputs together, and with a state that one step hands on to the next.

    Keras gives every output a loss and labels of its own; a task has one loss that sees them all. Where the task
    names outputs that are inputs too, they are variables here: what a step leaves is what the next one starts from,
    and a checkpoint keeps them. Validation has its own, which start at zero each time.
    """

    def __init__(self, net: keras.Model, task: Any, weight_decay: float = 0.0, decayed: Collection[str] = ()):
        """`decayed` names the paths of the weights that decay by `weight_decay`, coupled with the gradient."""
        super().__init__(name=net.name)
        self.net = net
        self.built = True
        self.weight_decay = weight_decay
        self.decayed = [weight.value for weight in net.trainable_variables if weight.path in decayed]
        self.task_loss = task.loss
        self.task_metrics = task.metrics()
        shapes = task.carried(net) if hasattr(task, "carried") else ({}, {})
        self.training_state, self.validation_state = (
            {
                name: self.add_weight(shape=shape, initializer="zeros", trainable=False, name=f"{kind}_{name}")
                for name, shape in part.items()
            }
            for kind, part in zip(("training", "validation"), shapes, strict=True)
        )

    def call(self, inputs, training=False):
        state = self.training_state if training else self.validation_state
        if not state:
            return self.net(inputs, training=training)
        outputs = self.net({**inputs, **{name: tf.identity(value) for name, value in state.items()}}, training=training)
        for name, variable in state.items():
            variable.assign(tf.stop_gradient(outputs[name]))
        return outputs

    def reset_validation_state(self) -> None:
        """To be called before a split is scored."""
        for variable in self.validation_state.values():
            variable.assign(tf.zeros(variable.shape, variable.dtype))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        losses = self.task_loss(y, y_pred)
        if sample_weight is None:
            loss = ops.mean(losses)
        else:  # padding has weight zero: the sum over what is real, divided by its count
            weights = ops.cast(sample_weight, losses.dtype)
            loss = ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1)
        for penalty in self.losses:
            loss += ops.cast(penalty, loss.dtype)
        if self.decayed:  # half the sum of squares, one operation a weight; a Keras regularizer makes ten
            squares = tf.add_n([tf.nn.l2_loss(weight) for weight in self.decayed])
            loss += tf.cast(self.weight_decay * squares, loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for metric in self.task_metrics:
            metric.update_state(y, logits_of(y_pred), sample_weight=sample_weight)
        return self.get_metrics_result()


def logits_of(outputs: Any) -> Any:
    """The main output, where there are others beside it."""
    return outputs["logits"] if isinstance(outputs, dict) else outputs


def without_auxiliary_heads(model: keras.Model) -> keras.Model:
    """The model that is scored and exported."""
    if not isinstance(model.output, dict):
        return model
    if isinstance(model.input, dict):  # the others are its state
        return model
    return keras.Model(model.inputs, logits_of(model.output), name=model.name)
