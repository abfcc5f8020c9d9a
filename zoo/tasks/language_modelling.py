"""Language modelling: the next character, from those before; a prompt in, its continuation out."""

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoo import report
from zoo.data.splits import Splits
from zoo.data.stream import take_rows
from zoo.data.text import Streams, encode_streams, load_text
from zoo.data.vocabulary import UNKNOWN, Characters
from zoo.errors import UsageError, ZooError
from zoo.recipe import LanguageModelRecipe, from_dict
from zoo.registry import Card
from zoo.tasks.inputs import texts_of
from zoo.tasks.losses import cross_entropy

SCORED = 500  # characters of a stream that are scored at a time where nothing else says how many
DRAWS = 256  # random numbers that are drawn at a time for each row
WRITTEN = 8  # characters of each row that one turn of the loop writes: a turn costs as much as several operations


class LanguageModelling:
    """Trains, scores and serves a model of characters as a `LanguageModelRecipe` says.

    The text is read as `batch_size` parallel streams, a step advancing each by `sequence_length` characters. The state
    after a step is the next one's first, on into the next epoch, and gradients stop at the step's edge: truncated
    backpropagation through time.
    """

    def __init__(self, recipe: LanguageModelRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.data = read_data(recipe, say)
        self.vocabulary = Characters("".join(self.data.train.rows))
        self.train = encode_streams(self.data.train, self.vocabulary.ids)
        say(self.data.description)

    @property
    def train_examples(self) -> int:
        """Sequences of an epoch, all streams together."""
        return self.data.train.length // self.recipe.sequence_length * self.recipe.batch_size

    def summary(self) -> str:
        """One line on the data."""
        parts = [("training", self.data.train), ("validation", self.data.validation), ("test", self.data.test)]
        counts = [f"{len(part) * part.length:,} {name}" for name, part in parts if part]
        return f"{self.data.name}: {', '.join(counts)} characters, {len(self.vocabulary) - 1} different ones"

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {"vocabulary_size": len(self.vocabulary)}

    def score(self, logs: Mapping[str, float]) -> float:
        """Greater is better."""
        return -logs["val_nats_per_char"]

    def carried(self, net: keras.Model) -> tuple[tuple[int, int], dict[str, int]]:
        """The state that steps hand on: its streams in training and in validation, and the size of each part."""
        sizes = {tensor.name: tensor.shape[1] for name, tensor in net.input.items() if name != "tokens"}
        return (self.recipe.batch_size, len(self.data.validation)), sizes

    def loss(self, labels, outputs):
        """The loss of each stream, (N,): the mean over its characters, or their sum."""
        losses = cross_entropy(labels, outputs["logits"])
        return ops.sum(losses, axis=-1) if self.recipe.sum_over_time else ops.mean(losses, axis=-1)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.SparseCategoricalCrossentropy(name="nats_per_char", from_logits=True)]

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return []

    def training_batches(self, first_step: int, own: range | None = None) -> tf.data.Dataset:
        length = self.recipe.sequence_length
        rows, steps = tf.constant(self.train), self.data.train.length // length

        def batch(step: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            start = step % steps * length
            sequence = tf.ensure_shape(rows[:, start : start + length + 1], (self.recipe.batch_size, length + 1))
            return {"tokens": sequence[:, :-1]}, sequence[:, 1:]

        return take_rows(tf.data.Dataset.counter(first_step).map(batch), own).prefetch(8)

    def validation_batches(self) -> tf.data.Dataset:
        return self._pieces(self.data.validation)

    def _pieces(self, streams: Streams) -> tf.data.Dataset:
        rows = encode_streams(streams, self.vocabulary.ids)
        length = self.recipe.sequence_length if len(streams) > 1 else SCORED
        pieces = [rows[:, start : start + length + 1] for start in range(0, streams.length, length)]
        return tf.data.Dataset.from_generator(
            lambda: (({"tokens": piece[:, :-1]}, piece[:, 1:]) for piece in pieces),
            output_signature=(
                {"tokens": tf.TensorSpec((len(streams), None), tf.int32)},
                tf.TensorSpec((len(streams), None), tf.int32),
            ),
        ).apply(tf.data.experimental.assert_cardinality(len(pieces)))

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Nats a character of the validation and test splits, each stream read from a state of zeros to its end."""
        results = {}
        for name, streams in (("validation", self.data.validation), ("test", self.data.test)):
            if streams is None:
                continue
            total, state = 0.0, zero_state(model, len(streams))

            @tf.function(reduce_retracing=True)
            def nats(tokens, labels, state):
                outputs = dict(model({"tokens": tokens, **state}, training=False))
                logits = tf.cast(outputs.pop("logits"), "float32")
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
                return tf.reduce_sum(tf.cast(losses, tf.float64)), outputs

            pieces = self._pieces(streams)
            for inputs, labels in report.progress(pieces, f"scoring {name}", len(pieces)):
                part, state = nats(inputs["tokens"], labels, state)
                total += float(part)
            results[f"{name}_nats_per_char"] = total / (len(streams) * streams.length)
        return results

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingLanguageModel` describes them."""
        return ServingLanguageModel(model, self.vocabulary)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        text = self.data.validation.rows[0]
        return {
            "prompt": np.array([text[:12].encode(), text[20:25].encode(), b""]),
            "length": np.array([20, 10, 5], np.int32),
            "temperature": np.array([0.0, 1.0, 0.5], np.float32),
            "seed": np.array([0, 1, 2], np.int32),
        }


def read_data(recipe: LanguageModelRecipe, say: Callable[[str], None]) -> Splits[Streams]:
    """The recipe's text, cut as it says."""
    return load_text(
        recipe.dataset,
        split=recipe.split,
        streams=recipe.batch_size,
        sequence_length=recipe.sequence_length,
        log=say,
    )


def zero_state(model: keras.Model, rows: int | tf.Tensor) -> dict[str, tf.Tensor]:
    """The state before the first character, for a number of rows."""
    return {
        name: tf.zeros(tf.stack([rows, tensor.shape[1]]), tensor.dtype)
        for name, tensor in model.input.items()
        if name != "tokens"
    }


def stepping(model: keras.Model) -> keras.Model:
    """The same net, its weights shared, for one character at a time: without loops, and without an axis for time.

    Tokens int32 (N,) and states → logits (N, V) and states.
    """
    inputs = {
        name: keras.Input(() if name == "tokens" else tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in model.input.items()
    }
    return keras.models.clone_model(
        model,
        input_tensors=inputs,
        clone_function=lambda layer: OneStep(layer) if isinstance(layer, keras.layers.RNN) else layer,
    )


class OneStep(keras.layers.Layer):
    """A single step of a recurrent layer: (N, D) and the state before it → (N, units) and the state after it."""

    def __init__(self, recurrent: keras.layers.RNN):
        super().__init__(name=recurrent.name, dtype=recurrent.dtype_policy)
        self.cell = recurrent.cell

    def call(self, x, initial_state):
        output, states = self.cell(x, initial_state)
        return output, *states


class ServingLanguageModel(tf.Module):
    """A language model with its vocabulary and its loops, to be saved with these signatures:

    * `serving_default`: `prompt` string (N,), `length` int32 (N,), `temperature` float32 (N,) and `seed` int32 (N,) →
      `text` string (N,), the `length` characters that follow each prompt. At temperature 0 the likeliest character
      follows; above it, one drawn by the seed. A prompt opens a line: where the vocabulary has a line break, the net
      reads one first, for it has seldom seen a text begin from zeros. Without one, what follows an empty prompt starts
      with a character drawn evenly;
    * `score`: `text` string (N,) → `nats_per_char` float32 (N,), the mean over all characters but the first, 0 where
      there are none.

    A row's answer depends on nothing but the row. Negative lengths and temperatures, and temperatures that are no
    finite number, are errors that say so.
    """

    def __init__(self, model: keras.Model, vocabulary: Characters):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        self.vocabulary = vocabulary
        step = stepping(model)
        opening = "\n" if "\n" in vocabulary.characters else ""
        rows = {"prompt": tf.string, "length": tf.int32, "temperature": tf.float32, "seed": tf.int32}

        @tf.function(input_signature=[tf.TensorSpec((None,), dtype, name) for name, dtype in rows.items()])
        def serving_default(prompt, length, temperature, seed):
            usable = tf.math.is_finite(temperature) & (temperature >= 0)
            checks = [
                tf.debugging.assert_non_negative(length, "length must be 0 or more"),
                tf.debugging.assert_equal(usable, True, "temperature must be 0 or more, and finite"),
            ]
            with tf.control_dependencies(checks):
                return {"text": continued(step, vocabulary, opening + prompt, length, temperature, seed)}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "text")])
        def score(text):
            return {"nats_per_char": nats_per_char(model, vocabulary, text)}

        self.endpoints = {"serving_default": serving_default, "score": score}


def continued(
    step: keras.Model,
    vocabulary: Characters,
    prompt: tf.Tensor,
    length: tf.Tensor,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The text after each prompt, strings (N,), one character of every row at a time."""
    prompts = vocabulary.encode(prompt)
    prompt_lengths = tf.cast(prompts.row_lengths(), tf.int32)
    rows = tf.size(prompt_lengths)
    ends = prompt_lengths + length
    total = tf.reduce_max(tf.concat([ends, [1]], 0))
    total += -total % WRITTEN  # whole turns
    # At temperature 0 all but the greatest score get the weight 0, and a draw of 0 takes the first of those.
    sharpness = tf.minimum(1 / temperature, tf.float32.max)[:, None]
    never = tf.one_hot(UNKNOWN, len(vocabulary), on_value=-np.inf, off_value=0.0)
    # Sums over the first places, as a product: TensorFlow's cumulative sum takes longer than the net.
    first_places = tf.linalg.band_part(tf.ones((len(vocabulary), len(vocabulary))), 0, -1)

    def drawn_block(number: tf.Tensor) -> tf.Tensor:
        """`DRAWS` numbers from 0 to 1 for each row by its own seed: what stands beside it changes nothing."""
        return tf.map_fn(
            lambda own: tf.random.stateless_uniform([DRAWS], tf.stack([own, number])),
            seed,
            fn_output_signature=tf.TensorSpec([DRAWS], tf.float32),
        )

    blocks = tf.range((total + DRAWS - 1) // DRAWS)
    draws = tf.map_fn(drawn_block, blocks, fn_output_signature=tf.TensorSpec([None, DRAWS], tf.float32))
    draws = tf.where(temperature > 0, tf.reshape(tf.transpose(draws, (0, 2, 1)), (-1, rows)), 0.0)[..., None]
    # Read once, not at each step.
    weights_read = [(weight, tf.identity(weight.value)) for weight in step.weights]
    given = prompts.to_tensor(UNKNOWN)
    given = tf.transpose(tf.pad(given, [[0, 0], [0, total - tf.shape(given)[1]]]))  # (steps, N)

    def advance(position, scores, written, state):
        scores += never
        weights = tf.exp((scores - tf.reduce_max(scores, axis=-1, keepdims=True)) * sharpness)
        sums = tf.matmul(weights, first_places)
        # A draw is below one, so that there is a sum above it.
        drawn = tf.raw_ops.UpperBound(sorted_inputs=sums, values=tf.gather(draws, position) * sums[:, -1:])
        token = tf.where(position < prompt_lengths, tf.gather(given, position), tf.squeeze(drawn, 1))
        with keras.StatelessScope(weights_read):
            outputs = step({"tokens": token, **state}, training=False)
        state = {name: tf.cast(outputs[name], before.dtype) for name, before in state.items()}
        return position + 1, tf.cast(outputs["logits"], tf.float32), written.write(position, token), state

    def turn(*loop):
        for _ in range(WRITTEN):
            loop = advance(*loop)
        return loop

    written = tf.TensorArray(tf.int32, size=total, element_shape=(None,))
    begin = (0, tf.zeros((rows, len(vocabulary))), written, zero_state(step, rows))
    _, _, written, _ = tf.while_loop(lambda position, *_: position < total, turn, begin)
    everything = tf.transpose(written.stack())  # (N, total)
    places = tf.range(total)[None]
    wanted = (places >= prompt_lengths[:, None]) & (places < ends[:, None])
    return vocabulary.decode(tf.ragged.boolean_mask(everything, wanted))


def nats_per_char(model: keras.Model, vocabulary: Characters, text: tf.Tensor) -> tf.Tensor:
    """The mean cross-entropy of each text's characters but the first, (N,); 0 where there are none."""
    numbers = vocabulary.encode(text)
    lengths = tf.cast(numbers.row_lengths(), tf.int32)
    tokens = tf.pad(numbers.to_tensor(UNKNOWN), [[0, 0], [0, 2]])  # never without a character
    outputs = model({"tokens": tokens[:, :-1], **zero_state(model, tf.shape(tokens)[0])}, training=False)
    logits = tf.cast(outputs["logits"], tf.float32)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tokens[:, 1:], logits)
    real = tf.sequence_mask(lengths - 1, tf.shape(losses)[1], tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(losses * real, axis=1), tf.reduce_sum(real, axis=1))


def predict(export: Path, options: Namespace) -> Iterator[dict[str, Any]]:
    """An export's continuations of prompts: the texts given, or those in files (`-` for standard input).

    Yields for each its `prompt` and the `text` that follows, or the `file` and the `error` that kept it from being
    read.
    """
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    for name, prompt in texts_of(options):
        if isinstance(prompt, ZooError):
            yield {"file": name, "error": str(prompt)}
            continue
        try:
            answer = signature(
                prompt=tf.constant([prompt]),
                length=tf.constant([options.length]),
                temperature=tf.constant([options.temperature]),
                seed=tf.constant([options.seed]),
            )
        except tf.errors.InvalidArgumentError as error:
            said = re.search(r"(length|temperature) must be [^].\n]*", str(error))
            raise UsageError(f"{said.group(0) if said else error.message}.") from error
        yield {"prompt": prompt, "text": answer["text"].numpy()[0].decode()}


def shown(answer: Mapping[str, Any]) -> str:
    """An answer for people."""
    return answer["prompt"] + answer["text"]


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its `score` signature on the validation and test splits of a text, cut as its recipe
    says."""
    recipe = from_dict(plain)
    recipe = replace(recipe, dataset=dataset or recipe.dataset)
    score = tf.saved_model.load(str(export)).signatures["score"]
    data = read_data(recipe, lambda text: print(text, file=sys.stderr))
    results: dict[str, Any] = {"dataset": recipe.dataset}
    for name, streams in (("validation", data.validation), ("test", data.test)):
        if streams is not None:
            rows = score(text=tf.constant([row.encode() for row in streams.rows]))["nats_per_char"]
            results[f"{name}_nats_per_char"] = float(tf.reduce_mean(tf.cast(rows, tf.float64)))
    return results
