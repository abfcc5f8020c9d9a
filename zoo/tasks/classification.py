"""Image classification: raw pixels in, classes, labels and probabilities out."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoo import report
from zoo.data.images import SUFFIXES, ImageData, ImageSplit, decode_image, load_images, resize
from zoo.data.stream import Order
from zoo.errors import UsageError, reason
from zoo.recipe import ImageRecipe, from_dict
from zoo.registry import Card
from zoo.weights import classifier

# The constant of LeNet-5's criterion, which the paper leaves open: how far, in squared distance, a wrong class's code
# is pushed away. Chosen on a validation split of MNIST.
RUBBISH_DISTANCE = 10.0


def cross_entropy(labels, logits):
    """−log softmax(logits)[label], per example."""
    return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)


def sigmoid_cross_entropy(labels, logits):
    """One binary cross-entropy a class, summed over the classes, per example (Nielsen, chapter 3)."""
    targets = ops.one_hot(ops.reshape(labels, (-1,)), logits.shape[-1], dtype=logits.dtype)
    # max(z, 0) − z·t + log(1 + e^−|z|) is the stable form of −t·log σ(z) − (1 − t)·log(1 − σ(z)).
    return ops.sum(ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits)), axis=-1)


def perceptron(labels, scores):
    """Rosenblatt's criterion, −t·s for each unit that errs, summed over the units, per example; t is ±1.

    A score of zero errs, else weights that start at zero would never move. Its gradient step is Rosenblatt's rule.
    """
    margins = _margins(labels, scores)
    return ops.sum(ops.where(margins <= 0, -margins, ops.zeros_like(margins)), axis=-1)


def mistakes(labels, scores):
    """How many units err, per example: those that Rosenblatt's rule corrects."""
    return ops.sum(ops.cast(_margins(labels, scores) <= 0, scores.dtype), axis=-1)


def _margins(labels, scores):
    """t·s of each unit, one against the rest: positive where it is right."""
    return (2 * ops.one_hot(ops.reshape(labels, (-1,)), scores.shape[-1], dtype=scores.dtype) - 1) * scores


class EndWithoutMistakes(keras.callbacks.Callback):
    """Ends a perceptron's training after a pass without a mistake: from then on the rule changes nothing."""

    def on_epoch_end(self, epoch, logs=None):
        if logs["mistakes"] == 0:
            self.model.stop_training = True


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


def preprocess(images: tf.Tensor, recipe: ImageRecipe) -> tf.Tensor:
    """uint8 (N, H, W, C) of the model's size less the padding → the numbers that the model takes."""
    images = tf.pad(images, [[0, 0], [recipe.pad] * 2, [recipe.pad] * 2, [0, 0]])
    dtype = "float64" if recipe.precision == "float64" else "float32"
    return (tf.cast(images, dtype) - tf.constant(recipe.pixel_mean, dtype)) / tf.constant(recipe.pixel_std, dtype)


def augment(images: tf.Tensor, seed: tf.Tensor, recipe: ImageRecipe) -> tf.Tensor:
    """Random shifts and mirror images of preprocessed (N, H, W, C), which a seed (2,) decides; same shape.

    Shifts bring in zeros, which are the mean where one is subtracted: He et al. 2016, section 4.2.
    """
    shift = recipe.random_shift
    height, width = images.shape[1], images.shape[2]
    if recipe.random_flip or shift:
        draws = tf.random.stateless_uniform([tf.shape(images)[0], 3], seed)
    if shift:
        offsets = tf.cast(draws[:, :2] * (2 * shift + 1), tf.int32)  # (N, 2), each from 0 to 2·shift
        padded = tf.pad(images, [[0, 0], [shift] * 2, [shift] * 2, [0, 0]])
        rows = offsets[:, :1] + tf.range(height)  # (N, H)
        columns = offsets[:, 1:] + tf.range(width)  # (N, W)
        # Rows, then columns, each example by its own offsets.
        images = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    if recipe.random_flip:
        images = tf.where(draws[:, 2, None, None, None] < 0.5, images[:, :, ::-1], images)
    return images


def image_shape(recipe: ImageRecipe, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """The size that images are brought to before the padding that makes them the model's input."""
    height, width, channels = recipe.model_args.get("input_shape") or input_shape
    shape = (height - 2 * recipe.pad, width - 2 * recipe.pad, channels)
    if min(shape) < 1:
        raise UsageError(f"{recipe.name}: pad={recipe.pad} leaves nothing of an input of {height} × {width}.")
    return shape


class ImageClassification:
    """Trains, scores and serves a classifier of images as an `ImageRecipe` says."""

    def __init__(self, recipe: ImageRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.image_shape = image_shape(recipe, card.input_shape)
        channels = self.image_shape[2]
        for key in ("pixel_mean", "pixel_std"):
            if len(getattr(recipe, key)) not in (1, channels):
                raise UsageError(
                    f"{recipe.name}: {key} has {len(getattr(recipe, key))} values; "
                    f"it must have one, or one for each of the {channels} channels."
                )
        self.data: ImageData = load_images(
            recipe.dataset,
            self.image_shape,
            seed=recipe.seed,
            validation_examples=recipe.validation_examples,
            validation_cut=recipe.validation_cut,
            skip_bad_images=recipe.skip_bad_images,
            say=say,
        )

    @property
    def train_examples(self) -> int:
        return len(self.data.train)

    def summary(self) -> str:
        """One line on the data."""
        data = self.data
        held = f", {len(data.validation):,} validation" if data.validation else ""
        height, width, channels = data.shape
        return (
            f"{data.name}: {len(data.train):,} training{held} and {len(data.test):,} test images of "
            f"{height} × {width} × {channels}, {len(data.classes)} classes"
        )

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {"num_classes": len(self.data.classes)}

    @property
    def monitor(self) -> str:
        return "val_accuracy"

    def loss(self) -> Callable[..., Any]:
        loss = LOSSES[self.recipe.loss]
        if not self.recipe.precision.startswith("mixed"):
            return loss
        return lambda labels, logits: loss(labels, ops.cast(logits, "float32"))

    def metrics(self) -> list[keras.metrics.Metric]:
        metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        if self.recipe.loss == "perceptron":
            metrics.append(keras.metrics.MeanMetricWrapper(mistakes, name="mistakes"))
        return metrics

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [EndWithoutMistakes()] if self.recipe.loss == "perceptron" else []

    def training_batches(self, first_step: int) -> tf.data.Dataset:
        order = Order(len(self.data.train), self.recipe.batch_size, self.recipe.seed)
        return self.data.training_batches(
            order, first_step, lambda images, seed: augment(preprocess(images, self.recipe), seed, self.recipe)
        )

    def validation_batches(self) -> tf.data.Dataset | None:
        return None if self.data.validation is None else self._batches(self.data.validation)

    def _batches(self, split: ImageSplit) -> tf.data.Dataset:
        return self.data.batches(split, max(self.recipe.batch_size, 250)).map(
            lambda images, labels: (preprocess(images, self.recipe), labels), num_parallel_calls=tf.data.AUTOTUNE
        )

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Metrics of the validation and test splits; draws the confusion matrix of the test split into `folder`."""
        results = {}
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            if split is None:
                continue
            logits = model.predict(self._batches(split).map(lambda images, _: images), verbose=0)
            results[f"{name}_accuracy"] = float(np.mean(logits.argmax(-1) == split.labels))
            loss = self.loss()(split.labels, ops.convert_to_tensor(logits))
            results[f"{name}_loss"] = float(ops.mean(ops.cast(loss, "float64")))
            if name == "test":
                report.confusion_matrix(split.labels, logits.argmax(-1), self.data.classes, folder / "confusion.png")
        return results

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingClassifier` describes them."""
        return ServingClassifier(model, self.recipe, self.image_shape, self.data.classes)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        return {"images": self.data.batches(self.data.test, 8).take(1).get_single_element()[0].numpy()}


class ServingClassifier(tf.Module):
    """A classifier with its preprocessing and its answers, to be saved with these signatures:

    * `serving_default`: `images` uint8 (N, any, any, C) → `classes` int64 (N,), `labels` string (N,) and
      `probabilities` float32 (N, K), which for a perceptron are its `scores`;
    * `image_bytes`: `image_bytes` string (N,), each a PNG or JPEG file → the same;
    * `features`: `images` → `features` float32 (N, D), what the classifier sees; a map is averaged.
    """

    def __init__(self, model: keras.Model, recipe: ImageRecipe, shape: tuple[int, int, int], classes: tuple[str, ...]):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        features = keras.Model(model.inputs, classifier(model).input)
        images_spec = tf.TensorSpec((None, None, None, shape[2]), tf.uint8, "images")
        bytes_spec = tf.TensorSpec((None,), tf.string, "image_bytes")

        def answer(images: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = tf.cast(model(preprocess(images, recipe), training=False), tf.float32)
            classes_ = tf.argmax(outputs, axis=-1)
            answers = {"classes": classes_, "labels": tf.gather(tf.constant(classes), classes_)}
            if recipe.loss == "perceptron":
                return {**answers, "scores": outputs}
            link = tf.sigmoid if recipe.loss == "sigmoid_cross_entropy" else tf.nn.softmax
            return {**answers, "probabilities": link(outputs)}

        @tf.function(input_signature=[images_spec])
        def serving_default(images):
            return answer(resize(images, shape))

        @tf.function(input_signature=[bytes_spec])
        def image_bytes(image_bytes):
            decode = lambda content: decode_image(content, shape)  # noqa: E731
            return answer(tf.map_fn(decode, image_bytes, fn_output_signature=tf.TensorSpec(shape, tf.uint8)))

        @tf.function(input_signature=[images_spec])
        def features_of(images):
            vectors = features(preprocess(resize(images, shape), recipe), training=False)
            if len(vectors.shape) == 4:  # a net whose classifier is a convolution
                vectors = tf.reduce_mean(vectors, axis=(1, 2))
            return {"features": tf.cast(vectors, tf.float32)}

        self.endpoints = {"serving_default": serving_default, "image_bytes": image_bytes, "features": features_of}


def predict(export: Path, sources: Sequence[str]) -> Iterator[dict[str, Any]]:
    """An export's answers for image files: PNG and JPEG files, folders of them, or `-` for standard input.

    Yields for each file, in order, its `file` and either `label`, `class` and `probability` (`score`), or the `error`
    that kept it from being read.
    """
    signature = tf.saved_model.load(str(export)).signatures["image_bytes"]
    for name, content in _contents(sources):
        if isinstance(content, OSError):
            yield {"file": name, "error": reason(content)}
            continue
        try:
            answer = {key: value.numpy()[0] for key, value in signature(image_bytes=tf.constant([content])).items()}
        except tf.errors.OpError:
            yield {"file": name, "error": "not a PNG or JPEG image, or a damaged one"}
            continue
        number = int(answer["classes"])
        value = "probability" if "probabilities" in answer else "score"
        numbers = answer.get("probabilities", answer.get("scores"))
        yield {"file": name, "label": answer["labels"].decode(), "class": number, value: float(numbers[number])}


def _contents(sources: Sequence[str]) -> Iterator[tuple[str, bytes | OSError]]:
    for source in sources:
        if source == "-":
            yield "-", sys.stdin.buffer.read()
            continue
        path = Path(source)
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            if not files:
                yield source, FileNotFoundError(0, "the folder holds no PNG or JPEG file")
        for file in files:
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                yield str(file), error


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its serving signature on the test split of a data set.

    `plain` is the export's recipe, `card` its card; `dataset` is as in a recipe, `None` for the recipe's own.
    Raises `UsageError` where its classes are not the ones that the export knows.
    """
    recipe = from_dict(plain)
    dataset = dataset or recipe.dataset
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    data = load_images(
        dataset,
        image_shape(recipe, card["input_shape"]),
        seed=recipe.seed,
        skip_bad_images=recipe.skip_bad_images,
        say=lambda text: print(text, file=sys.stderr),
    )
    answers = [
        {key: value.numpy() for key, value in signature(images=images).items()}
        for images, _ in data.batches(data.test, 250)
    ]
    labels = np.concatenate([answer["labels"] for answer in answers])
    outputs = np.concatenate([answer.get("probabilities", answer.get("scores")) for answer in answers])
    if outputs.shape[1] != len(data.classes):
        raise UsageError(f"The export knows {outputs.shape[1]} classes, {dataset} has {len(data.classes)}.")
    truth = np.array([name.encode() for name in data.classes])[data.test.labels]
    results = {"dataset": dataset, "test_examples": len(truth), "test_accuracy": float(np.mean(labels == truth))}
    if "probabilities" in answers[0]:
        right = np.maximum(outputs[np.arange(len(truth)), data.test.labels], np.finfo(np.float32).tiny)
        results["test_cross_entropy"] = float(-np.mean(np.log(right.astype(np.float64))))
    return results
