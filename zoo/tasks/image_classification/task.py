"""Training and evaluation of image classifiers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoo.data import views
from zoo.data.image_split import ImageSplit
from zoo.data.images import find_fault
from zoo.data.progress import progress
from zoo.data.splits import Splits, describe_counts
from zoo.data.stream import EpochShuffle, Records
from zoo.errors import UsageError, ZooError
from zoo.layers import WhiteningConv2D
from zoo.report import plots
from zoo.tasks.base import Batch
from zoo.tasks.classes import balanced_weights, check_outputs, choose_classes
from zoo.tasks.image_classification.dense_scoring import convolutional
from zoo.tasks.image_classification.distillation import soft_cross_entropy, teacher_probabilities
from zoo.tasks.image_classification.losses import LOSSES, mistakes
from zoo.tasks.image_classification.mixing import mixed_batches
from zoo.tasks.image_classification.preprocessing import Preprocessing, load_data
from zoo.tasks.image_classification.recipe import ImageRecipe
from zoo.tasks.image_classification.scoring import logits_of, scores
from zoo.tasks.image_classification.serving import ServingClassifier
from zoo.tasks.losses import masked_sum, smoothed_cross_entropy, update_class_metrics
from zoo.tasks.splits import SplitsTask


class ImageClassification(SplitsTask):
    """Trains, evaluates and serves a classifier of images as an `ImageRecipe` says.

    The model returns logits (N, K), or a dict of "logits" and of auxiliary heads, whose losses are added. Batches have
    "labels" int64 (N,); with a teacher its probabilities "teacher" float32 (N, K); with mixup or CutMix "other_labels"
    int64 (N,) and "share" float32 (N,).
    """

    Recipe = ImageRecipe
    takes_arrays = True

    def prepare(self) -> None:
        recipe: ImageRecipe = self.recipe
        self.preprocessing = Preprocessing(recipe, self.card.input_shape)
        self.data: Splits[ImageSplit] = load_data(recipe, self.preprocessing, self.log, given=self.given)
        self.log(self.data.description)
        self.classes = choose_classes(self, self.data.name, self.data.classes)
        self._class_ids = tf.constant(self.classes.ids, tf.int64)
        self._class_weights = self._weights_of_classes()
        if self.parent and self.parent.recipe.get("normalisation") == recipe.normalisation:
            self.preprocessing.normalisation.take(self.parent.value)
        elif self.preprocessing.normalisation.needs_images:
            batches = (images for images, _ in self.data.train.batches(1000))
            if recipe.crop == "square":
                batches = (views.window(images, self.preprocessing.shape[:2]) for images in batches)
            self.preprocessing.normalisation.learn(batches, self.log)
        if self.parent:
            self.log(f"images: read as {self._form()}, as {self.parent.name} takes them; others are converted")
        self.log(f"{recipe.name}: {self._summary()}")

    def _form(self) -> str:
        height, width, channels = self.preprocessing.shape
        return f"{height} × {width} in {'grey' if channels == 1 else 'colour'}"

    def _weights_of_classes(self) -> tf.Tensor | None:
        """The weight of each class in the loss, (K,); None where all count the same."""
        if self.recipe.class_weights == "none":
            return None
        if self.data.train.labels is None:
            raise UsageError(f"{self.recipe.name}: class_weights is 'balanced', but {self.data.name} is streamed.")
        labels = self.classes.ids[self.data.train.labels]
        return tf.constant(balanced_weights(labels, len(self.classes.names)), tf.float32)

    def _summary(self) -> str:
        data = self.data
        height, width, channels = self.preprocessing.shape
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'images')} of {height} × {width} × {channels}, "
            f"{len(data.classes)} classes"
        )

    def find_fault(self, error: tf.errors.OpError) -> ZooError | None:
        return find_fault(self.data, error) if self.data else super().find_fault(error)

    def model_args(self) -> dict[str, Any]:
        return {"num_classes": len(self.classes.names)}

    def check_model(self, model: keras.Model) -> None:
        check_outputs(self, model, len(self.classes.names))
        here, there = self.preprocessing.input_shape, tuple(model.input_shape[1:])
        if len(there) != 3 or any(one not in (None, other) for one, other in zip(there, here, strict=True)):
            raise UsageError(
                f"{self.recipe.name}: {model.name} takes images of shape {there}, but its card and model_args say "
                f"{here}; give zoo.register the input_shape of the graph."
            )

    def adapt(self, model: keras.Model) -> None:
        count, layers = self.recipe.adapt_images, [layer for layer in model.layers if hasattr(layer, "adapt")]
        if count and not layers:
            raise UsageError(
                f"{self.recipe.name}: adapt_images is {count}, but {model.name} has no layer that learns from images "
                "before training; leave it out."
            )
        if not count:
            if unset := [layer.name for layer in layers if isinstance(layer, WhiteningConv2D)]:
                self.log(f"warning: {unset[0]} does not whiten the images; set adapt_images, such as 5000")
            return
        batches = self.data.train.first(count).batches(250)
        inputs = np.concatenate([self.preprocessing.centre(images) for images, _ in batches])
        for layer in layers:
            before = keras.Model(model.input, layer.input)
            parts = range(0, len(inputs), 250)
            layer.adapt(np.concatenate([before(inputs[i : i + 250], training=False) for i in parts]))
        names = ", ".join(layer.name for layer in layers)
        self.log(f"{names}: learned from the first {len(inputs):,} training images")

    @property
    def train_examples(self) -> int:
        return len(self.data.train)

    def training_batches(self, first_step: int, rows: range | None = None) -> tf.data.Dataset:
        train, recipe = self.data.train, self.recipe
        named = self._named
        if recipe.teacher is not None:
            named = partial(self._taught, tf.constant(train.labels), self._teacher)
            train = replace(train, labels=np.arange(len(train)))

        def batches(order: EpochShuffle) -> tf.data.Dataset:
            return train.training_batches(order, first_step, self.preprocessing.training, rows).map(named)

        if recipe.alternating_flip and isinstance(train.pictures, Records):
            raise UsageError(f"{recipe.name}: alternating_flip is True, but {self.data.name} is streamed.")
        order = EpochShuffle(len(train), recipe.batch_size, recipe.seed)
        if recipe.mixup or recipe.cutmix:
            return mixed_batches(batches, order, first_step, rows, recipe)
        return batches(order)

    def validation_batches(self) -> tf.data.Dataset | None:
        if self.data.validation is None:
            return None
        dense = self.recipe.test_views == "dense"
        batches = self.data.validation.batches(1 if dense else max(self.recipe.batch_size, 250))
        return batches.map(
            lambda images, labels: self._named(self.preprocessing.centre(images), labels),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def loss(self, batch: Batch, outputs: Any) -> tuple[tf.Tensor, tf.Tensor]:
        heads = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        losses = self._losses_of_heads(batch["labels"], heads)
        if "teacher" in batch:
            logits, alpha = heads["logits"], self.recipe.alpha
            soft = soft_cross_entropy(
                tf.cast(batch["teacher"], losses.dtype), tf.cast(logits, losses.dtype), self.recipe.temperature
            )
            losses = (1 - alpha) * losses + alpha * soft
        losses = self._weighted(losses, batch["labels"])
        if "other_labels" in batch:
            share, labels = tf.cast(batch["share"], losses.dtype), batch["other_labels"]
            losses = share * losses + (1 - share) * self._weighted(self._losses_of_heads(labels, heads), labels)
        return masked_sum(losses, batch.get("mask")), self.count(batch)

    def _losses_of_heads(self, labels: tf.Tensor, heads: Mapping[str, tf.Tensor]) -> tf.Tensor:
        losses = self._losses(labels, heads["logits"])
        for name, logits in heads.items():
            if name != "logits":
                losses += self.recipe.aux_weight * self._losses(labels, logits)
        return losses

    def _weighted(self, losses: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The losses with the weights of the classes."""
        if self._class_weights is None:
            return losses
        return losses * tf.cast(tf.gather(self._class_weights, labels), losses.dtype)

    def _losses(self, labels, logits):
        if self.recipe.precision != "float64":
            logits = ops.cast(logits, "float32")
        if self.recipe.label_smoothing:
            return smoothed_cross_entropy(labels, logits, self.recipe.label_smoothing)
        return LOSSES[self.recipe.loss](labels, logits)

    def metrics(self) -> list[keras.metrics.Metric]:
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        if self.recipe.loss == "perceptron":
            metrics.append(keras.metrics.MeanMetricWrapper(mistakes, name="mistakes"))
        return metrics

    def update_metrics(self, metrics, batch: Batch, outputs: Any) -> None:
        logits = outputs["logits"] if isinstance(outputs, Mapping) else outputs
        update_class_metrics(metrics, batch["labels"], logits, batch.get("mask"))

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [_StopWithoutMistakes()] if self.recipe.loss == "perceptron" else []

    def inference_model(self, model: keras.Model) -> keras.Model:
        if not isinstance(model.output, Mapping):
            return model
        return keras.Model(model.inputs, model.output["logits"], name=model.name)

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        results: dict[str, float] = {}
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            if split is None:
                continue
            labels, outputs = self._outputs(model, split)
            results |= scores(labels, outputs, name)
            loss = LOSSES[self.recipe.loss](labels, ops.convert_to_tensor(outputs))
            results[f"{name}_loss"] = float(ops.mean(ops.cast(loss, "float64")))
            if split is self.data.scored:
                self._confusion = (labels, outputs.argmax(-1))
        return results

    def pictures(self) -> dict[str, Callable[[Path], None]]:
        if len(self.classes.names) > 100:
            return {}
        labels, predicted = self._confusion
        draw = partial(plots.confusion_matrix, labels, predicted, self.classes.names, self.data.scored_name)
        return {"confusion.png": draw}

    def _outputs(self, model: keras.Model, split: ImageSplit) -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) of a split and its logits (N, K); for ten_crops and dense the logarithm of the mean
        probability."""
        ready, size = self.preprocessing, self.preprocessing.shape[:2]
        kind, batch_size = self.recipe.test_views, max(self.recipe.batch_size, 250)
        if kind == "dense":
            dense = convolutional(model)

        @tf.function(reduce_retracing=True)  # with dense views, each image has a size of its own
        def outputs_of(images):
            if kind in ("centre", "mirror", "mirror_shift"):
                return logits_of(model, ready.centre(images), kind)
            if kind == "ten_crops":
                logits = [model(ready(view), training=False) for view in views.ten_crops(images, size)]
            else:
                logits = [dense(ready(view), training=False) for view in (images, images[:, :, ::-1])]
            logs = tf.nn.log_softmax(tf.cast(tf.stack(logits), "float32"))
            return tf.reduce_logsumexp(logs, axis=0) - float(np.log(len(logits)))

        batches = split.batches({"ten_crops": 32, "dense": 1}.get(kind, batch_size))
        labels, outputs = [], []
        for images, labels_ in progress(batches, "scoring", int(batches.cardinality())):
            labels.append(self.classes.ids[labels_.numpy()])
            outputs.append(outputs_of(images).numpy())
        return np.concatenate(labels), np.concatenate(outputs)

    def labels(self) -> tuple[str, ...]:
        return self.classes.names

    def new_weights(self, model: keras.Model) -> list[keras.Variable]:
        return [] if self.classes.kept else [weight for layer in self.head(model) for weight in layer.weights]

    def serving(self, model: keras.Model) -> tf.Module:
        return ServingClassifier(model, self.preprocessing, self.classes.names)

    def serving_examples(self) -> dict[str, np.ndarray]:
        dense = self.recipe.test_views == "dense"
        return {"images": next(iter(self.data.scored.batches(1 if dense else 8)))[0].numpy()}

    @cached_property
    def _teacher(self) -> tf.Tensor:
        """The teacher's probabilities for each training image (N, K)."""
        targets = teacher_probabilities(self.recipe.teacher, self.data.train, self.classes.names, self.log)
        return tf.constant(targets)

    def _taught(
        self, labels: tf.Tensor, targets: tf.Tensor, images: tf.Tensor, indices: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        return {**self._named(images, tf.gather(labels, indices)), "teacher": tf.gather(targets, indices)}

    def _named(self, images: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"inputs": images, "labels": tf.gather(self._class_ids, labels)}


class _StopWithoutMistakes(keras.callbacks.Callback):
    """Ends the training of a perceptron after an epoch without a mistake: the rule changes nothing from then on."""

    def on_epoch_end(self, epoch, logs=None):
        if logs["mistakes"] == 0:
            self.model.stop_training = True
