"""The losses of image classification, per example."""

from keras import ops

from zoo.tasks.losses import cross_entropy

# The constant j of LeNet-5's criterion, which the paper does not state: the penalty of the rubbish class. Chosen on a
# validation split of MNIST.
RUBBISH_DISTANCE = 10.0


def sigmoid_cross_entropy(labels, logits):
    """Binary cross-entropy summed over the classes, per example: labels (N,), logits (N, K) (Nielsen, chapter 3)."""
    targets = ops.one_hot(ops.reshape(labels, (-1,)), logits.shape[-1], dtype=logits.dtype)
    return ops.sum(ops.binary_crossentropy(targets, logits, from_logits=True), axis=-1)


def perceptron(labels, scores):
    """Rosenblatt's criterion per example: -t·s summed over the units with a wrong sign, where t is ±1.

    A score of zero counts as wrong, else weights that start at zero would never change. Its gradient step is
    Rosenblatt's rule. labels (N,), scores (N, K).
    """
    margins = _margins(labels, scores)
    return ops.sum(ops.where(margins <= 0, -margins, ops.zeros_like(margins)), axis=-1)


def mistakes(labels, scores):
    """The number of units with a wrong sign, per example: those that Rosenblatt's rule corrects."""
    return ops.sum(ops.cast(_margins(labels, scores) <= 0, scores.dtype), axis=-1)


def _margins(labels, scores):
    """t·s of each unit, one against the rest: positive where the sign is right."""
    return (2 * ops.one_hot(ops.reshape(labels, (-1,)), scores.shape[-1], dtype=scores.dtype) - 1) * scores


def rbf_map(labels, logits):
    """LeCun et al. 1998, equation 9, per example: y_D + log(e^−j + Σ e^−y_i), where the penalties y are −logits.

    The constant j is the penalty of a rubbish class beside the ten.
    """
    right = ops.take_along_axis(logits, ops.reshape(labels, (-1, 1)), axis=-1)[:, 0]
    rubbish = ops.full_like(logits[:, :1], -RUBBISH_DISTANCE)
    return ops.logsumexp(ops.concatenate([logits, rubbish], axis=-1), axis=-1) - right


LOSSES = {
    "cross_entropy": cross_entropy,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "perceptron": perceptron,
    "rbf_map": rbf_map,
}
