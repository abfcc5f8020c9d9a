"""The optimizers that Keras lacks, and a recipe's fields turned into one."""

import keras
import tensorflow as tf
from keras import ops

from zoo.errors import UsageError
from zoo.layers import ScaledTanh
from zoo.recipe import Recipe


def learning_rate(recipe: Recipe, steps_per_epoch: int) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The recipe's schedule, as a function of the step."""
    total = recipe.epochs * steps_per_epoch
    if recipe.schedule == "piecewise":
        boundaries = [round(epoch * steps_per_epoch) for epoch in recipe.schedule_epochs]
        rates = [recipe.learning_rate * factor for factor in (1.0, *recipe.schedule_factors)]
        # Keras holds a rate up to and including its boundary, counted from step 0.
        return keras.optimizers.schedules.PiecewiseConstantDecay([step - 1 for step in boundaries], rates)
    if recipe.schedule == "cosine":
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, total)
        return keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=recipe.learning_rate, warmup_steps=warmup
        )
    return recipe.learning_rate


def optimizer(recipe: Recipe, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """The optimizer that a recipe's fields describe."""
    rate = learning_rate(recipe, steps_per_epoch)
    average = {"use_ema": recipe.keep == "average", "ema_momentum": recipe.average_momentum}
    if recipe.optimizer == "adam":
        return keras.optimizers.Adam(rate, **average)
    if recipe.optimizer == "diagonal_lm":
        return DiagonalLM(rate, **average)
    return keras.optimizers.SGD(rate, momentum=recipe.momentum, nesterov=recipe.nesterov, **average)


class DiagonalLM(keras.optimizers.Optimizer):
    """Stochastic diagonal Levenberg-Marquardt (LeCun et al. 1998, section III-B and appendix C).

    Each weight has its own rate, η / (μ + h), where h is a running estimate of the second derivative of the loss by
    that weight. `Curvature` estimates h before each pass and assigns it to `curvatures`; until then h is zero.
    """

    def __init__(self, learning_rate=0.0005, mu: float = 0.02, name: str = "diagonal_lm", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.mu = mu

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.curvatures = [self.add_variable_from_reference(v, name="curvature") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        curvature = self.curvatures[self._get_variable_index(variable)]
        rate = ops.cast(learning_rate, variable.dtype) / (self.mu + curvature)
        self.assign_sub(variable, rate * ops.cast(gradient, variable.dtype))

    def get_config(self):
        return {**super().get_config(), "mu": self.mu}


class Curvature(keras.callbacks.Callback):
    """Estimates the diagonal of the Hessian before each epoch, for `DiagonalLM`.

    `batches(epoch)` gives the model's inputs and labels of the examples to average over; the paper takes 500.
    """

    def __init__(self, batches, loss):
        super().__init__()
        self.batches, self.loss = batches, loss

    def on_epoch_begin(self, epoch, logs=None):
        inputs, labels = self.batches(epoch)
        estimate = diagonal_hessian(self.model, self.loss, inputs, labels)
        for slot, value in zip(self.model.optimizer.curvatures, estimate, strict=True):
            slot.assign(value)


def diagonal_hessian(model: keras.Model, loss, inputs: tf.Tensor, labels: tf.Tensor) -> list[tf.Tensor]:
    """LeCun's estimate of ∂²E/∂w² for each trainable weight, averaged over the examples (N, …).

    The exact second derivative of the loss at the last layer with weights is propagated back with every weight,
    input and slope squared, which drops the off-diagonal and the second-order terms of the squashing functions, so
    the estimate is never negative. A shared weight has the sum over its connections.

    Raises `UsageError` unless the model is a chain of layers that are linear in their weights (without an activation
    of their own), squashing layers and `Flatten`.
    """
    layers = model.layers[1:]  # the first is the input
    head = max(i for i, layer in enumerate(layers) if layer.trainable_weights) + 1
    activations = [inputs]
    for layer in layers:
        activations.append(layer(activations[-1], training=False))

    x = activations[head]  # what the last weights put out; the rest of the chain and the loss are a function of it
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = x
            for layer in layers[head:]:
                y = layer(y, training=False)
            value = loss(labels, y)
        slope = inner.gradient(value, x)
    second = tf.linalg.diag_part(outer.batch_jacobian(slope, x))

    estimates: dict[int, tf.Tensor] = {}
    for layer, x in zip(reversed(layers[:head]), reversed(activations[:head]), strict=True):
        weights = layer.trainable_weights
        with tf.GradientTape() as tape:
            if weights and getattr(layer, "activation", keras.activations.linear) is keras.activations.linear:
                squares = [tf.square(tf.convert_to_tensor(weight)) for weight in weights]
                x = tf.square(x)
                tape.watch([x, squares])
                with keras.StatelessScope(state_mapping=list(zip(weights, squares, strict=True))):
                    y = layer(x)
            elif isinstance(layer, (ScaledTanh, keras.layers.Flatten)):
                squares = []
                tape.watch(x)
                y = layer(x)
            else:
                raise UsageError(
                    f"diagonal_lm cannot pass second derivatives through the layer {layer.name!r} "
                    f"({type(layer).__name__}); use optimizer='sgd' or 'adam' for {model.name}."
                )
        if isinstance(layer, ScaledTanh):
            second = second * tf.square(tape.gradient(y, x))
        else:
            second, *by_weight = tape.gradient(y, [x, *squares], output_gradients=second)
            estimates.update({id(w): h / len(labels) for w, h in zip(weights, by_weight, strict=True)})
    return [estimates[id(weight)] for weight in model.trainable_weights]
