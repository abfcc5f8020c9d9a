"""Keras's own training loop under a task's loss and metrics, on one device or dealt to many."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.layers import on_cpus


class Trainer(keras.Model):
    """A net with one loss for all of its outputs together, and with a state that one step hands on to the next.

    Keras gives every output a loss and labels of its own; a task has one loss that sees them all. What a step minimises
    is the sum of the losses of all replicas over the count of all examples (or real tokens) of the step: the same
    however the batch is dealt. Gradients come summed over replicas to the optimizer (`zoo.optimizers`).

    Where the task names outputs that are inputs too, they are variables here: what a step leaves is what the next one
    starts from. Each replica has its own streams' rows; `gathered_state` is the whole. Validation has its own, which
    start at zero each time.
    """

    def __init__(
        self,
        net: keras.Model,
        task: Any,
        weight_decay: float = 0.0,
        decayed: Collection[str] = (),
        accumulate_steps: int = 1,
    ):
        """`decayed` names the paths of the weights that decay by `weight_decay`, coupled with the gradient;
        `accumulate_steps` is the number of parts that a replica's share of a batch is worked through in."""
        super().__init__(name=net.name)
        self.net = net
        self.built = True
        self.weight_decay, self.accumulate_steps = weight_decay, accumulate_steps
        self.decayed = [weight.value for weight in net.trainable_variables if weight.path in decayed]
        self.task_loss = task.loss
        self.task_metrics = task.metrics()
        self.replicas = self.distribute_strategy.num_replicas_in_sync
        self.streams, shapes = task.carried(net) if hasattr(task, "carried") else ((0, 0), {})
        self.training_state, self.validation_state = (
            {name: self._state_of(-(-streams // self.replicas), size) for name, size in shapes.items()}
            for streams in self.streams
        )

    def _state_of(self, rows: int, size: int) -> tf.Variable:
        """A variable of which every replica has its own, (rows, size)."""
        own = tf.VariableSynchronization.ON_READ
        return tf.Variable(tf.zeros((rows, size), keras.config.floatx()), trainable=False, synchronization=own)

    def call(self, inputs, training=False):
        state = {} if training else self.validation_state
        if not state:
            return self.net(inputs, training=training)
        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
        outputs = self.net({**inputs, **{name: variable[:rows] for name, variable in state.items()}}, training=False)
        self._carry(state, outputs, 0)
        return outputs

    def _carry(self, state, outputs, first_row) -> None:
        """Leaves for the next step what the net's outputs say of the state's rows from `first_row` on."""
        for name, variable in state.items():
            new = tf.cast(tf.stop_gradient(outputs[name]), variable.dtype)
            last = first_row + tf.shape(new)[0]
            variable.assign(tf.concat([variable[:first_row], new, variable[last:]], axis=0))

    def prepare_validation(self) -> None:
        """To be called before a split is scored: all replicas score one net, each stream from the start."""
        if self.replicas > 1:
            self._take_statistics_of_first()
        for variable in self.validation_state.values():
            for own in self.distribute_strategy.experimental_local_results(variable):
                own.assign(tf.zeros_like(own))

    @tf.function
    def _take_statistics_of_first(self):
        """Each replica's normalisation has seen other batches; a checkpoint and an export have the first one's."""

        def own():
            first = tf.distribute.get_replica_context().replica_id_in_sync_group == 0
            for variable in self.net.non_trainable_variables:
                if variable.dtype.startswith("float"):
                    value = tf.convert_to_tensor(variable.value)
                    variable.assign(self._summed(tf.where(first, value, tf.zeros_like(value))))

        self.distribute_strategy.run(own)

    def gathered_state(self) -> dict[str, np.ndarray]:
        """The state of all streams, in their order, (streams, size), whatever replicas have them."""
        if not self.training_state:
            return {}
        shares = self._shares(self.streams[0])
        everyone = self.distribute_strategy.experimental_local_results(self._spread())[0]
        return {
            name: np.concatenate([part[: len(share)] for part, share in zip(rows.numpy(), shares, strict=True)])
            for name, rows in everyone.items()
        }

    @tf.function
    def _spread(self):
        """Each replica's rows in their place, summed with the others' zeros: (replicas, rows, size) in each replica."""

        def own():
            place = tf.one_hot(tf.distribute.get_replica_context().replica_id_in_sync_group, self.replicas)
            return {
                name: self._summed(tf.cast(place, variable.dtype)[:, None, None] * variable)
                for name, variable in self.training_state.items()
            }

        return self.distribute_strategy.run(own)

    def scatter_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Gives each replica its rows of a gathered state."""
        shares = self._shares(self.streams[0])
        for name, variable in self.training_state.items():
            rows = variable.shape[0]
            parts = np.stack([np.pad(state[name][s], [(0, rows - len(s)), (0, 0)]) for s in shares])

            def assign(variable=variable, parts=parts):
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                variable.assign(tf.gather(tf.constant(parts, variable.dtype), replica))

            self.distribute_strategy.run(assign)

    def _shares(self, rows: int) -> list[np.ndarray]:
        """The places of each replica's rows, as `zoo.distribute.dealt` deals them."""
        return [np.arange(*share(replica, rows, self.replicas)) for replica in range(self.replicas)]

    def train_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        count = self._count(y, weights)
        if self.accumulate_steps == 1:
            loss, gradients = self._gradients(x, y, weights, count, 0)
        else:
            loss, gradients = self._accumulated(x, y, weights, count)
        self.optimizer.apply(gradients, self.trainable_variables)
        self._loss_tracker.update_state(self._summed(loss), sample_weight=count)

    def test_step(self, data):
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        count = self._count(y, weights)
        outputs = self(x, training=False)
        loss = self._loss(y, outputs, weights, count)
        self._update(y, outputs, weights)
        if weights is None and len(y.shape) > 1:  # streams, of which the last pieces are shorter
            count *= tf.cast(tf.shape(y)[1], tf.float32)
        self._loss_tracker.update_state(self._summed(loss), sample_weight=count)

    def _count(self, y, weights):
        """The examples or real tokens of a step, of all replicas together."""
        own = tf.shape(tf.nest.flatten(y)[0], tf.int64)[0] if weights is None else tf.reduce_sum(weights)
        return tf.maximum(self._summed(tf.cast(own, tf.float32)), 1.0)

    def _summed(self, value):
        """A number summed over all replicas."""
        if self.replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

    def _loss(self, y, outputs, weights, count, parts=1):
        """A replica's part of what a step minimises, or one of its `parts`: the sum of all of them is the whole."""
        losses = self.task_loss(y, outputs)
        if weights is not None:  # padding has weight zero
            losses *= tf.cast(weights, losses.dtype)
        loss = tf.reduce_sum(losses) / tf.cast(count, losses.dtype)
        penalties = [tf.cast(penalty, loss.dtype) for penalty in self.losses]
        if self.decayed:  # half the sum of squares, one operation a weight; a Keras regularizer makes ten
            squares = tf.add_n([tf.nn.l2_loss(weight) for weight in self.decayed])
            penalties.append(tf.cast(self.weight_decay * squares, loss.dtype))
        return loss + sum(penalties) / (self.replicas * parts) if penalties else loss

    def _gradients(self, x, y, weights, count, first_row):
        parts, state = [(x, y, weights)], self.training_state
        if state:
            last = first_row + tf.shape(y)[0]
            x = {**x, **{name: variable[first_row:last] for name, variable in state.items()}}
            parts = _halves(x, y, weights)
        count_of_parts = self.accumulate_steps * len(parts)
        with tf.GradientTape() as tape:
            outputs = [self(x, training=True) for x, _, _ in parts]
            losses = [
                self._loss(y, output, weights, count, count_of_parts)
                for (_, y, weights), output in zip(parts, outputs, strict=True)
            ]
            loss = tf.add_n(losses)
            scaled = self.optimizer.scale_loss(loss)
        for (_, y, weights), output in zip(parts, outputs, strict=True):
            self._update(y, output, weights)
        if state:
            after = {name: tf.concat([output[name] for output in outputs], axis=0) for name in state}
            self._carry(state, after, first_row)
        gradients = tape.gradient(scaled, self.trainable_variables)
        # An embedding's gradient comes as a list of rows, the same row many times: its norm is that of their sums.
        return loss, [gradient if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]

    def _accumulated(self, x, y, weights, count):
        """The gradients of a replica's share of a batch, part by part: one part's activations are held at a time."""
        data = (x, y) if weights is None else (x, y, weights)
        first = tf.nest.flatten(data)[0]
        rows, parts = tf.shape(first)[0], self.accumulate_steps
        even = None if first.shape[0] is None or first.shape[0] % parts else first.shape[0] // parts

        def add(i, loss, gradients):
            start, stop = share(i, rows, parts)

            def cut(value):
                return tf.ensure_shape(value[start:stop], (even, *value.shape[1:]))

            part = tf.nest.map_structure(cut, data)
            new, more = self._gradients(*part, *([None] if weights is None else []), count, start)
            return i + 1, loss + new, [old if m is None else old + m for old, m in zip(gradients, more, strict=True)]

        zeros = [tf.zeros(weight.shape, weight.dtype) for weight in self.trainable_variables]
        begin = (0, tf.zeros([], tf.float32), zeros)
        _, loss, gradients = tf.while_loop(lambda i, *_: i < parts, add, begin, maximum_iterations=parts)
        return loss, gradients

    def _update(self, y, outputs, weights) -> None:
        logits = logits_of(outputs)
        if logits.dtype.size < 4:  # Keras would take the mean of losses in half precision
            logits = tf.cast(logits, tf.float32)
        if len(y.shape) > 1:  # of tokens Keras would take the mean of each row, and a batch of long rows count for less
            if weights is not None:
                weights = weights if len(weights.shape) > 1 else weights[:, None]
                weights = tf.reshape(tf.broadcast_to(weights, tf.shape(y)), [-1])
            y, logits = tf.reshape(y, [-1]), tf.reshape(logits, [-1, logits.shape[-1]])
        for metric in self.task_metrics:
            metric.update_state(y, logits, sample_weight=weights)

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: all is built. Keras's own averages a first batch over replicas, which fails over several workers."""

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._repeated(self.train_step, self.steps_per_execution)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            step, most = tf.function(self._run_once(self.test_step), reduce_retracing=True), self.steps_per_execution

            def steps(iterator: Any) -> dict[str, tf.Tensor]:
                step(next(iterator))
                for _ in range(most - 1):
                    # The batch is fetched outside: in a step without one, what needs none of it would still be counted.
                    try:
                        batch = next(iterator)
                    except (StopIteration, tf.errors.OutOfRangeError):  # Keras asks for whole executions
                        break
                    step(batch)
                return self.get_metrics_result()

            self.test_function = steps

    def _run_once(self, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """A step of all replicas, compiled where the model is to be."""

        def one(data: Any) -> None:
            self.distribute_strategy.run(step, args=(data,))

        return tf.function(one, jit_compile=True, reduce_retracing=True) if self.jit_compile else one

    def _repeated(self, step: Callable[[Any], None], count: int) -> Callable[[Any], dict[str, tf.Tensor]]:
        """A function of an iterator that does so many steps in the graph and returns what the metrics then are.

        Keras's own asks before each step whether there is a batch, which fails under mirrored strategies, and averages
        the replicas' logs, which fails over several workers; training has batches without end.
        """

        one = self._run_once(step)

        def body(done: tf.Tensor, iterator: Any) -> tf.Tensor:
            one(iterator.get_next())
            return done + 1

        @tf.function(reduce_retracing=True, autograph=False)
        def steps(iterator: Any) -> dict[str, tf.Tensor]:
            if count == 1:
                one(iterator.get_next())
            else:
                tf.while_loop(lambda done: done < count, lambda done: body(done, iterator), [tf.constant(0)])
            return self.get_metrics_result()

        return steps


def share(number: Any, rows: Any, count: int) -> tuple[Any, Any]:
    """Where the rows of part `number` of `count` parts of a batch begin and end; numbers or scalar tensors."""
    return number * rows // count, (number + 1) * rows // count


def _halves(x: Any, y: tf.Tensor, weights: tf.Tensor | None) -> list[tuple[Any, ...]]:
    """Sequences, whose steps have to wait for each other, as two halves of the rows, which have not: on CPUs one core
    runs the one and another the other, to the loss and back."""
    rows = y.shape[0]
    if not on_cpus() or rows is None or rows == 1:
        return [(x, y, weights)]
    return [
        tf.nest.map_structure(lambda value, cut=cut: None if value is None else value[cut], (x, y, weights))
        for cut in (slice(*share(number, rows, 2)) for number in range(2))
    ]


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
