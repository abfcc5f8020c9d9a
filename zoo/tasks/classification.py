"""Image classification: raw pixels in, classes, labels and probabilities out."""

import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from zoo import report
from zoo.data import views
from zoo.data.decoding import SUFFIXES, decode_image, plain_image
from zoo.data.image_split import ImageSplit
from zoo.data.images import load_images
from zoo.data.normalisation import Normalisation
from zoo.data.paths import files_below
from zoo.data.splits import Splits, describe_counts
from zoo.data.stream import BatchRNG, EpochShuffle
from zoo.data.views import View
from zoo.errors import UsageError, ZooError, reason
from zoo.recipe import ImageRecipe, from_dict
from zoo.registry import Card
from zoo.tasks.losses import cross_entropy, smoothed_cross_entropy
from zoo.weights import classifier

# The constant of LeNet-5's criterion, which the paper leaves open: how far, in squared distance, a wrong class's code
# is pushed away. Chosen on a validation split of MNIST.
RUBBISH_DISTANCE = 10.0


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


class Preprocessing(tf.Module):
    """uint8 images → what a recipe's model takes; its own part of an export."""

    def __init__(self, recipe: ImageRecipe, input_shape: Sequence[int]):
        super().__init__()
        self.recipe = recipe
        self.input_shape = tuple(recipe.model_args.get("input_shape") or input_shape)
        self.shape = image_shape(recipe, input_shape)
        self.normalisation = Normalisation(
            self.input_shape,
            kind=recipe.normalisation,
            mean=recipe.pixel_mean,
            std=recipe.pixel_std,
            dtype="float64" if recipe.precision == "float64" else "float32",
        )
        channels = self.shape[2]
        for key in ("pixel_mean", "pixel_std"):
            if len(getattr(recipe, key)) not in (1, channels):
                raise UsageError(
                    f"{recipe.name}: {key} has {len(getattr(recipe, key))} values; "
                    f"it must have one, or one for each of the {channels} channels."
                )
        sides = [recipe.test_size, *([recipe.train_sizes[0]] if recipe.crop in ("square", "scale") else [])]
        smaller = [side for side in sides if side < max(self.shape[:2])]
        if recipe.crop != "none" and smaller:
            raise UsageError(
                f"{recipe.name}: no window of {self.shape[0]} × {self.shape[1]} fits a side of {smaller[0]}; "
                "train_sizes and test_size must be at least as large."
            )

    @property
    def train_view(self) -> View:
        """How a training picture becomes an image."""
        recipe = self.recipe
        if recipe.crop == "square":
            return views.central_square(recipe.train_sizes[0], self.shape[2])
        if recipe.crop == "scale":
            return views.random_scale(self.shape, recipe.train_sizes)
        return views.inception_crop(self.shape) if recipe.crop == "inception" else views.whole(self.shape)

    @property
    def test_view(self) -> View:
        """How a test picture becomes an image, of which `centre` or another window is taken."""
        if self.recipe.crop == "none":
            return views.whole(self.shape)
        if self.recipe.test_views == "dense":
            return views.rescaled(self.recipe.test_size, self.shape[2])
        return views.central_square(self.recipe.test_size, self.shape[2])

    def training(self, images: tf.Tensor, rng: BatchRNG) -> tf.Tensor:
        """Training images (N, height, width, C) cropped, normalised and augmented by their rows' random numbers."""
        recipe, noise = self.recipe, None
        if recipe.crop == "square":
            rng, windows = rng.split()
            images = views.random_window(images, self.shape[:2], windows.uniform(2))
        if recipe.colour_noise and self.shape[2] == 3:
            rng, colours = rng.split()
            noise = views.colour_noise(recipe.colour_noise * colours.normal(3))
        return augment(self(images, noise), rng, recipe)

    def centre(self, images: tf.Tensor) -> tf.Tensor:
        """The central window (N, height, width, C) of test views, normalised."""
        return self(images if self.recipe.crop == "none" else views.window(images, self.shape[:2]))

    def served(self, images: tf.Tensor) -> tf.Tensor:
        """uint8 (N, any, any, C) → what an export's model takes: one view, the central window where windows are taken.

        A net that is scored by sliding answers for the size that it was trained at.
        """
        if self.recipe.crop == "none":
            return self(views.resize(images, self.shape))
        side = self.recipe.train_sizes[0] if self.recipe.test_views == "dense" else self.recipe.test_size
        return self(views.window(views.resize_to_square(images, side), self.shape[:2]))

    def __call__(self, images: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        """Padded and normalised."""
        pad = self.recipe.pad
        return self.normalisation(tf.pad(images, [[0, 0], [pad, pad], [pad, pad], [0, 0]]), noise)


def augment(images: tf.Tensor, rng: BatchRNG, recipe: ImageRecipe) -> tf.Tensor:
    """Random shifts and mirror images of normalised (N, H, W, C); same shape.

    Shifts bring in zeros, which are the mean where one is subtracted: He et al. 2016, section 4.2.
    """
    shift = recipe.random_shift
    if not shift and not recipe.random_flip:
        return images
    drawn = rng.uniform(3)
    mirrored = drawn[:, 2] < 0.5 if recipe.random_flip else None
    return views.random_window(images, tuple(images.shape[1:3]), drawn[:, :2], mirrored, margin=shift)


def image_shape(recipe: ImageRecipe, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """The size that images are brought to before the padding that makes them the model's input."""
    height, width, channels = recipe.model_args.get("input_shape") or input_shape
    shape = (height - 2 * recipe.pad, width - 2 * recipe.pad, channels)
    if min(shape) < 1:
        raise UsageError(f"{recipe.name}: pad={recipe.pad} leaves nothing of an input of {height} × {width}.")
    return shape


def load_data(recipe: ImageRecipe, preprocessing: Preprocessing, say: Callable[[str], None]) -> Splits[ImageSplit]:
    """The recipe's data, seen as its preprocessing says."""
    return load_images(
        recipe.dataset,
        preprocessing.train_view,
        preprocessing.test_view,
        seed=recipe.seed,
        validation_examples=recipe.validation_examples,
        validation_cut=recipe.validation_cut,
        skip_bad_images=recipe.skip_bad_images,
        log=say,
    )


def scored_split(data: Splits[ImageSplit]) -> ImageSplit:
    """The test split, or what there is in its place."""
    return data.test or data.validation or data.train


class ImageClassification:
    """Trains, scores and serves a classifier of images as an `ImageRecipe` says."""

    def __init__(self, recipe: ImageRecipe, card: Card, say: Callable[[str], None]):
        self.recipe = recipe
        self.preprocessing = Preprocessing(recipe, card.input_shape)
        self.data = load_data(recipe, self.preprocessing, say)
        say(self.data.description)
        if self.preprocessing.normalisation.needs_images:
            batches = (images for images, _ in self.data.train.batches(1000))
            if recipe.crop == "square":
                batches = (views.window(images, self.preprocessing.shape[:2]) for images in batches)
            self.preprocessing.normalisation.learn(batches, say)

    @property
    def train_examples(self) -> int:
        return len(self.data.train)

    def summary(self) -> str:
        """One line on the data."""
        data = self.data
        height, width, channels = self.preprocessing.shape
        sizes = {split: len(part) for split, part in data.present.items()}
        return (
            f"{data.name}: {describe_counts(sizes, 'images')} of {height} × {width} × {channels}, "
            f"{len(data.classes)} classes"
        )

    def model_args(self) -> dict[str, Any]:
        """What the data decides about the model."""
        return {"num_classes": len(self.data.classes)}

    def score(self, logs: Mapping[str, float]) -> float:
        """Greater is better."""
        return logs["val_accuracy"]

    def loss(self, labels, outputs):
        """The loss of each example, (N,): the auxiliary heads', where there are any, count `aux_weight` each."""
        if isinstance(outputs, Mapping):
            loss = self._loss(labels, outputs["logits"])
            for name in outputs:
                if name != "logits":
                    loss += self.recipe.aux_weight * self._loss(labels, outputs[name])
            return loss
        return self._loss(labels, outputs)

    def _loss(self, labels, logits):
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

    def callbacks(self) -> list[keras.callbacks.Callback]:
        return [EndWithoutMistakes()] if self.recipe.loss == "perceptron" else []

    def training_batches(self, first_step: int, own: range | None = None) -> tf.data.Dataset:
        order = EpochShuffle(len(self.data.train), self.recipe.batch_size, self.recipe.seed)
        return self.data.train.training_batches(order, first_step, self.preprocessing.training, own)

    def validation_batches(self) -> tf.data.Dataset | None:
        if self.data.validation is None:
            return None
        dense = self.recipe.test_views == "dense"
        batches = self.data.validation.batches(1 if dense else max(self.recipe.batch_size, 250))
        return batches.map(
            lambda images, labels: (self.preprocessing.centre(images), labels), num_parallel_calls=tf.data.AUTOTUNE
        )

    def evaluate(self, model: keras.Model, folder: Path) -> dict[str, float]:
        """Metrics of the validation and test splits; draws the confusion matrix of the test split into `folder`."""
        results = {}
        for name, split in (("validation", self.data.validation), ("test", self.data.test)):
            if split is None:
                continue
            labels, scores = self._scores(model, split)
            results[f"{name}_accuracy"] = float(np.mean(scores.argmax(-1) == labels))
            if scores.shape[1] >= 100:
                five = np.argpartition(scores, -5)[:, -5:]
                results[f"{name}_top5_accuracy"] = float(np.mean((five == labels[:, None]).any(-1)))
            loss = LOSSES[self.recipe.loss](labels, ops.convert_to_tensor(scores))
            results[f"{name}_loss"] = float(ops.mean(ops.cast(loss, "float64")))
            if split is scored_split(self.data) and len(self.data.classes) <= 100:
                report.confusion_matrix(labels, scores.argmax(-1), self.data.classes, folder / "confusion.png")
        return results

    def _scores(self, model: keras.Model, split: ImageSplit) -> tuple[np.ndarray, np.ndarray]:
        """The labels (N,) of a split and its logits (N, K); for several views the logarithm of the mean probability."""
        ready, size = self.preprocessing, self.preprocessing.shape[:2]
        kind = self.recipe.test_views
        if kind == "dense":
            slid = slid_over(model)

        @tf.function(reduce_retracing=True)  # slid over, each picture has a size of its own
        def scores_of(images):
            if kind == "centre":
                return tf.cast(model(ready.centre(images), training=False), ready.normalisation.dtype)
            if kind == "ten_crops":
                logits = [model(ready(view), training=False) for view in views.ten_crops(images, size)]
            else:
                logits = [slid(ready(view), training=False) for view in (images, images[:, :, ::-1])]
            logs = tf.nn.log_softmax(tf.cast(tf.stack(logits), "float32"))
            return tf.reduce_logsumexp(logs, axis=0) - float(np.log(len(logits)))

        batches = split.batches({"centre": max(self.recipe.batch_size, 250), "ten_crops": 32, "dense": 1}[kind])
        labels, scores = [], []
        for images, labels_ in report.progress(batches, "scoring", int(batches.cardinality())):
            labels.append(labels_.numpy())
            scores.append(scores_of(images).numpy())
        return np.concatenate(labels), np.concatenate(scores)

    def serving(self, model: keras.Model) -> tf.Module:
        """The export's signatures, as `ServingClassifier` describes them."""
        return ServingClassifier(model, self.preprocessing, self.data.classes)

    def serving_examples(self) -> dict[str, np.ndarray]:
        """A few real requests to the default signature."""
        dense = self.recipe.test_views == "dense"
        return {"images": next(iter(scored_split(self.data).batches(1 if dense else 8)))[0].numpy()}


def slid_over(model: keras.Model) -> keras.Model:
    """A classifier that takes images of any size: (N, any, any, C) → (N, K), the mean of its logits over all places.

    Sharing the classifier's weights: dense layers after a flattened map become convolutions with the map's size, then
    1 × 1 ones (Simonyan & Zisserman 2015, section 3.2).
    """
    replaced, size = {}, None
    for layer in model.layers:
        if isinstance(layer, keras.layers.Flatten):
            size = layer.input.shape[1:3]
            replaced[layer.name] = keras.layers.Identity()
        elif size and isinstance(layer, keras.layers.Dense):
            replaced[layer.name] = DenseAsConvolution(layer, size)
            size = (1, 1)
    images = keras.Input((None, None, model.input_shape[-1]))
    slid = keras.models.clone_model(
        model, input_tensors=images, clone_function=lambda layer: replaced.get(layer.name, layer)
    )
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(slid.output)) if replaced else slid


class DenseAsConvolution(keras.layers.Layer):
    """A dense layer that slides: the same weights over windows of the map that it takes flattened."""

    def __init__(self, dense: keras.layers.Dense, size: Sequence[int]):
        super().__init__()
        self.dense, self.size = dense, tuple(size)

    def call(self, x):  # (N, H, W, C) → (N, H − height + 1, W − width + 1, units)
        kernel = ops.reshape(self.dense.kernel, (*self.size, x.shape[-1], self.dense.units))
        return self.dense.activation(ops.conv(x, kernel) + self.dense.bias)


class ServingClassifier(tf.Module):
    """A classifier with its preprocessing and its answers, to be saved with these signatures:

    * `serving_default`: `images` uint8 (N, any, any, C) → `classes` int64 (N,), `labels` string (N,) and
      `probabilities` float32 (N, K), which for a perceptron are its `scores`;
    * `image_bytes`: `image_bytes` string (N,), each a PNG or JPEG file → the same;
    * `features`: `images` → `features` float32 (N, D), what the classifier sees; a map is averaged;
    * `preprocess`: `images` → `inputs` (N, height, width, C), what the model takes, for fine-tuning.
    """

    def __init__(self, model: keras.Model, preprocessing: Preprocessing, classes: tuple[str, ...]):
        super().__init__()
        self.weights = [weight.value for weight in model.weights]  # what the export keeps, in the model's order
        self.preprocessing = preprocessing
        recipe, shape = preprocessing.recipe, preprocessing.shape
        features = keras.Model(model.inputs, classifier(model).input)
        images_spec = tf.TensorSpec((None, None, None, shape[2]), tf.uint8, "images")
        bytes_spec = tf.TensorSpec((None,), tf.string, "image_bytes")

        def answer(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            outputs = tf.cast(model(inputs, training=False), tf.float32)
            classes_ = tf.argmax(outputs, axis=-1)
            answers = {"classes": classes_, "labels": tf.gather(tf.constant(classes), classes_)}
            if recipe.loss == "perceptron":
                return {**answers, "scores": outputs}
            link = tf.sigmoid if recipe.loss == "sigmoid_cross_entropy" else tf.nn.softmax
            return {**answers, "probabilities": link(outputs)}

        def input_of(content: tf.Tensor) -> tf.Tensor:
            return preprocessing.served(decode_image(content, shape[2])[None])[0]

        @tf.function(input_signature=[images_spec])
        def serving_default(images):
            return answer(preprocessing.served(images))

        @tf.function(input_signature=[bytes_spec])
        def image_bytes(image_bytes):
            inputs = tf.TensorSpec(preprocessing.input_shape, preprocessing.normalisation.dtype)
            return answer(tf.map_fn(input_of, image_bytes, fn_output_signature=inputs))

        @tf.function(input_signature=[images_spec])
        def features_of(images):
            vectors = features(preprocessing.served(images), training=False)
            if len(vectors.shape) == 4:  # a net whose classifier is a convolution
                vectors = tf.reduce_mean(vectors, axis=(1, 2))
            return {"features": tf.cast(vectors, tf.float32)}

        @tf.function(input_signature=[images_spec])
        def preprocess(images):
            return {"inputs": preprocessing.served(images)}

        self.endpoints = {
            "serving_default": serving_default,
            "image_bytes": image_bytes,
            "features": features_of,
            "preprocess": preprocess,
        }


def predict(export: Path, options: Namespace) -> Iterator[dict[str, Any]]:
    """An export's answers for image files, folders of them, or `-` for standard input.

    Yields for each file, in order, its `file` and either `label`, `class` and `probability` (`score`), or the `error`
    that kept it from being read.
    """
    if options.text or not options.files:
        raise UsageError(f"{export} answers for images: give image files, folders of them, or - for stdin.")
    signature = tf.saved_model.load(str(export)).signatures["image_bytes"]
    for name, content in _contents(options.files):
        if isinstance(content, OSError):
            yield {"file": name, "error": reason(content)}
            continue
        try:
            image = tf.constant([plain_image(content)])
            answer = {key: value.numpy()[0] for key, value in signature(image_bytes=image).items()}
        except ZooError as error:
            yield {"file": name, "error": str(error)}
            continue
        except tf.errors.OpError:
            yield {"file": name, "error": "an image that is damaged or cut off"}
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
            files = files_below(path, SUFFIXES).paths
            if not files:
                yield source, FileNotFoundError(0, "the folder holds no image file")
        for file in files:
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                yield str(file), error


def shown(answer: Mapping[str, Any]) -> str:
    """An answer for people."""
    if "probability" in answer:
        return f"{answer['file']}: {answer['label']} ({answer['probability']:.1%})"
    return f"{answer['file']}: {answer['label']} (score {answer['score']:.4g})"


def evaluate(export: Path, plain: Mapping[str, Any], card: Mapping[str, Any], dataset: str | None) -> dict[str, Any]:
    """Scores an export through its serving signature on the test split of a data set.

    `plain` is the export's recipe, `card` its card; `dataset` is as in a recipe, `None` for the recipe's own.
    Raises `UsageError` where its classes are not the ones that the export knows.
    """
    recipe = from_dict(plain)
    recipe = replace(recipe, dataset=dataset or recipe.dataset)
    signature = tf.saved_model.load(str(export)).signatures["serving_default"]
    data = load_data(recipe, Preprocessing(recipe, card["input_shape"]), lambda text: print(text, file=sys.stderr))
    batches = scored_split(data).batches(1 if recipe.test_views == "dense" else 250)
    numbers, answers = [], []
    for images, labels in report.progress(batches, "scoring", int(batches.cardinality())):
        numbers.append(labels.numpy())
        answers.append({key: value.numpy() for key, value in signature(images=images).items()})
    numbers = np.concatenate(numbers)
    labels = np.concatenate([answer["labels"] for answer in answers])
    outputs = np.concatenate([answer.get("probabilities", answer.get("scores")) for answer in answers])
    if outputs.shape[1] != len(data.classes):
        raise UsageError(f"The export knows {outputs.shape[1]} classes, {recipe.dataset} has {len(data.classes)}.")
    truth = np.array([name.encode() for name in data.classes])[numbers]
    results = {"dataset": recipe.dataset, "test_examples": len(truth), "test_accuracy": float(np.mean(labels == truth))}
    if "probabilities" in answers[0]:
        right = np.maximum(outputs[np.arange(len(truth)), numbers], np.finfo(np.float32).tiny)
        results["test_cross_entropy"] = float(-np.mean(np.log(right.astype(np.float64))))
    return results
