"""The Keras model that trains: Keras's own loop with a task's loss and metrics, on one device or several."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.distribute.sharding import row_bounds
from zoo.layers import on_cpus
from zoo.tasks.base import Batch, Task
from zoo.training.lookahead import Lookahead
from zoo.training.phases import Freezing


class Trainer(keras.Model):
    """A model with one loss for all of its outputs together, and with state that one step passes to the next.

    Keras gives every output a loss and labels of its own; a task has one loss that gets the whole batch. A step
    minimises the sum of the losses of all replicas divided by the count of all examples (or tokens) of the step, which
    does not depend on how the batch is divided. Gradients are summed over replicas by the optimizer
    (`zoo.training.optimizers`).

    State that the task names is kept in variables: what a step returns is what the next one starts from. Each replica
    keeps the rows of its own streams; `gathered_state` returns all of them. Validation has its own state, which starts
    at zeros each time.
    """

    def __init__(
        self,
        net: keras.Model,
        task: Task,
        *,
        weight_decay: float = 0.0,
        decayed: Mapping[str, float] = MappingProxyType({}),
        accumulate_steps: int = 1,
        streams: tuple[int, int] = (0, 0),
        lookahead: Lookahead | None = None,
    ):
        """
        Args:
          net: the model whose weights are trained.
          task: gives loss, metrics and the names of the state.
          weight_decay: coupled weight decay of the weights in `decayed`.
          decayed: by the paths of the weights that decay, what the weight decay is multiplied by.
          accumulate_steps: number of parts that a replica's share of a batch is processed in.
          streams: rows of a training batch and of a validation batch, where the task has state.
          lookahead: the second set of the weights of `net`, updated after each step.
        """
        super().__init__(name=net.name)
        self.net, self.task = net, task
        self.freezing, self.lookahead = Freezing(net), lookahead
        self.built = True
        self.weight_decay, self.accumulate_steps, self.streams = weight_decay, accumulate_steps, streams
        weights = [weight for weight in net.trainable_variables if weight.path in decayed]
        self.decayed = [(weight.value, decayed[weight.path]) for weight in weights]
        self.task_metrics = task.metrics()
        self.replicas = self.distribute_strategy.num_replicas_in_sync
        shapes = task.state(net)
        self.training_state, self.validation_state = (
            {name: self._state_variable(-(-rows // self.replicas), shape) for name, shape in shapes.items()}
            for rows in streams
        )

    def _state_variable(self, rows: int, shape: tuple[int, ...]) -> tf.Variable:
        """A variable (rows, …) of which every replica has its own values."""
        own = tf.VariableSynchronization.ON_READ
        return tf.Variable(tf.zeros((rows, *shape), keras.config.floatx()), trainable=False, synchronization=own)

    @property
    def trainable_variables(self):
        """All weights that training may change, also while some of them are frozen."""
        return list(self.freezing.trainable)

    @property
    def trainable_weights(self):
        return self.trainable_variables

    def freeze(self, frozen: Collection[str]) -> None:
        """Starts a phase in which the weights of these paths stay fixed; the next step is traced anew."""
        if self.freezing.frozen != frozenset(frozen):
            self.freezing.switch(frozen)
            self.train_function = None

    def call(self, inputs, training=False):
        return self.net(inputs, training=training)

    def save(self, filepath, **options):
        """Saves the model that is trained, for callbacks such as `keras.callbacks.ModelCheckpoint`."""
        self.net.save(filepath, **options)

    def save_weights(self, filepath, **options):
        self.net.save_weights(filepath, **options)

    def train_step(self, batch: Batch) -> None:
        """One optimizer step on this replica's rows of a batch."""
        if self.accumulate_steps == 1:
            loss, count, gradients = self._gradients(batch, None, 0)
        else:
            loss, count, gradients = self._accumulated(batch)
        self.optimizer.apply(gradients, self.freezing.trained)
        self._track(loss, count)

    def test_step(self, batch: Batch) -> None:
        """Loss and metrics of this replica's rows of a batch."""
        inputs, state = batch["inputs"], self.validation_state
        if state:
            rows = self._rows(batch)
            inputs = {**inputs, **{name: variable[:rows] for name, variable in state.items()}}
        outputs = self.net(inputs, training=False)
        self._keep_state(state, outputs, 0)
        total, count = self.task.loss(batch, outputs)
        count = self._total(count)
        loss = total / tf.cast(count, total.dtype)
        self.task.update_metrics(self.task_metrics, batch, outputs)
        self._track(self._with_penalties(loss), count)

    def _track(self, loss: tf.Tensor, count: tf.Tensor) -> None:
        """Adds this replica's part of a step's loss to the mean over steps. Its weights are parts of the count, so that
        a run can resume within an epoch on another number of replicas."""
        weight = tf.cast(count, self._loss_tracker.dtype) / self.replicas
        self._loss_tracker.update_state(self._summed(loss), sample_weight=weight)

    def _gradients(self, batch: Batch, count: tf.Tensor | None, first_row: Any):
        """Loss, count and gradients of a batch, or of the part of one that begins at `first_row`.

        The loss is divided by `count`, by default that of this batch on all replicas.
        """
        parts, state = [batch], self.training_state
        if state:
            last = first_row + self._rows(batch)
            rows = {name: variable[first_row:last] for name, variable in state.items()}
            parts = _halves({**batch, "inputs": {**batch["inputs"], **rows}})
        with tf.GradientTape() as tape:
            outputs = [self.net(part["inputs"], training=True) for part in parts]
            sums, counts = zip(
                *(self.task.loss(part, output) for part, output in zip(parts, outputs, strict=True)), strict=True
            )
            with tape.stop_recording():
                count = self._total(tf.add_n(list(counts))) if count is None else count
            loss = tf.add_n(list(sums)) / tf.cast(count, sums[0].dtype)
            loss = self._with_penalties(loss, self.accumulate_steps)
            scaled = self.optimizer.scale_loss(loss)
        for part, output in zip(parts, outputs, strict=True):
            self.task.update_metrics(self.task_metrics, part, output)
        if state:
            after = {name: tf.concat([output[name] for output in outputs], axis=0) for name in state}
            self._keep_state(state, after, first_row)
        gradients = tape.gradient(scaled, list(self.freezing.trained))
        # The gradient of an embedding is a list of rows in which a row may occur twice; its norm needs their sums.
        gradients = [gradient if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
        return loss, count, gradients

    def _accumulated(self, batch: Batch):
        """Loss, count and gradients of a replica's share of a batch, with the activations of one part at a time."""
        first = tf.nest.flatten(batch)[0]
        rows, parts = tf.shape(first)[0], self.accumulate_steps
        even = None if first.shape[0] is None or first.shape[0] % parts else first.shape[0] // parts
        count = self._total(self.task.count(batch))

        def add(i, loss, gradients):
            start, stop = row_bounds(i, rows, parts)

            def cut(value):
                return tf.ensure_shape(value[start:stop], (even, *value.shape[1:]))

            new, _, more = self._gradients(tf.nest.map_structure(cut, batch), count, start)
            return i + 1, loss + new, [old if m is None else old + m for old, m in zip(gradients, more, strict=True)]

        zeros = [tf.zeros(weight.shape, weight.dtype) for weight in self.freezing.trained]
        begin = (0, tf.zeros([], self.freezing.trainable[0].dtype), zeros)
        _, loss, gradients = tf.while_loop(lambda i, *_: i < parts, add, begin, maximum_iterations=parts)
        return loss, count, gradients

    def _with_penalties(self, loss: tf.Tensor, parts: int = 1) -> tf.Tensor:
        """The loss of one of `parts` on one replica, with its share of weight decay and of the model's penalties."""
        penalties = [tf.cast(penalty, loss.dtype) for penalty in self.losses]
        if self.decayed:  # half the sum of squares, one operation per weight; a Keras regularizer needs ten
            squares = tf.add_n(
                [tf.nn.l2_loss(w) if factor == 1 else factor * tf.nn.l2_loss(w) for w, factor in self.decayed]
            )
            penalties.append(tf.cast(self.weight_decay * squares, loss.dtype))
        return loss + sum(penalties) / (self.replicas * parts) if penalties else loss

    def _rows(self, batch: Batch) -> tf.Tensor:
        return tf.shape(tf.nest.flatten(batch["inputs"])[0])[0]

    def _total(self, count: tf.Tensor) -> tf.Tensor:
        """A count of this replica's examples summed over all replicas, at least 1."""
        return tf.maximum(self._summed(tf.cast(count, tf.float32)), 1.0)

    def _summed(self, value: tf.Tensor) -> tf.Tensor:
        """A number summed over all replicas."""
        if self.replicas == 1:
            return value
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)

    def _keep_state(self, state: Mapping[str, tf.Variable], outputs: Any, first_row: Any) -> None:
        """Stores the state that the outputs have for the rows from `first_row` on."""
        for name, variable in state.items():
            new = tf.cast(tf.stop_gradient(outputs[name]), variable.dtype)
            last = first_row + tf.shape(new)[0]
            variable.assign(tf.concat([variable[:first_row], new, variable[last:]], axis=0))

    def prepare_validation(self) -> None:
        """Call before scoring a split: all replicas use the statistics of the first, and the state starts at zeros."""
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
            for variable in self.freezing.statistics:
                if variable.dtype.startswith("float"):
                    value = tf.convert_to_tensor(variable.value)
                    variable.assign(self._summed(tf.where(first, value, tf.zeros_like(value))))

        self.distribute_strategy.run(own)

    def gathered_state(self) -> dict[str, np.ndarray]:
        """The training state of all streams in their order, (streams, …), whatever replicas have them."""
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
        """The rows of every replica in each replica, (replicas, rows, …)."""

        def own():
            place = tf.one_hot(tf.distribute.get_replica_context().replica_id_in_sync_group, self.replicas)
            return {
                name: self._summed(tf.tensordot(tf.cast(place, variable.dtype)[:, None], variable[None], axes=1))
                for name, variable in self.training_state.items()
            }

        return self.distribute_strategy.run(own)

    def scatter_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Gives each replica its rows of a gathered state."""
        shares = self._shares(self.streams[0])
        for name, variable in self.training_state.items():
            rows = variable.shape[0]
            padding = [(0, 0)] * (len(variable.shape) - 1)
            parts = np.stack([np.pad(state[name][s], [(0, rows - len(s)), *padding]) for s in shares])

            def assign(variable=variable, parts=parts):
                replica = tf.distribute.get_replica_context().replica_id_in_sync_group
                variable.assign(tf.gather(tf.constant(parts, variable.dtype), replica))

            self.distribute_strategy.run(assign)

    def _shares(self, rows: int) -> list[np.ndarray]:
        """Indices of each replica's rows, as `zoo.distribute.sharding` divides them."""
        return [np.arange(*row_bounds(replica, rows, self.replicas)) for replica in range(self.replicas)]

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: everything is built. Keras averages a first batch over replicas here, which fails with several
        workers."""

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            self.train_function = self._repeated(self.train_step, self.steps_per_execution)

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            step, most = tf.function(self._run_once(self.test_step), reduce_retracing=True), self.steps_per_execution

            def steps(iterator: Any) -> dict[str, tf.Tensor]:
                step(next(iterator))
                for _ in range(most - 1):
                    # The batch is fetched outside of the step, else the metrics of a step without one would count.
                    try:
                        batch = next(iterator)
                    except (StopIteration, tf.errors.OutOfRangeError):  # Keras asks for whole executions
                        break
                    step(batch)
                return self.get_metrics_result()

            self.test_function = steps

    def _run_once(self, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """A step on all replicas, compiled where the model is to be."""

        def one(data: Any) -> None:
            self.distribute_strategy.run(step, args=(data,))

        return tf.function(one, jit_compile=True, reduce_retracing=True) if self.jit_compile else one

    def _repeated(self, step: Callable[[Any], None], count: int) -> Callable[[Any], dict[str, tf.Tensor]]:
        """A function of an iterator that runs `count` steps in the graph and returns the metrics.

        Keras's own function asks before each step whether there is a batch, which fails under mirrored strategies, and
        averages the logs of the replicas, which fails with several workers; training batches are endless.
        """

        run = self._run_once(step)

        def one(data: Any) -> None:
            run(data)
            if self.lookahead:
                self.lookahead.update(tf.convert_to_tensor(self.optimizer.iterations.value))

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


def _halves(batch: Batch) -> list[Batch]:
    """A batch of sequences as two halves of its rows: on CPUs one core runs one half while another runs the other."""
    rows = tf.nest.flatten(batch["inputs"])[0].shape[0]
    if not on_cpus() or rows is None or rows == 1:
        return [batch]
    return [
        tf.nest.map_structure(lambda value, cut=cut: value[cut], batch)
        for cut in (slice(*row_bounds(number, rows, 2)) for number in range(2))
    ]
