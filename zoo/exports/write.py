"""Writing SavedModels for serving: a version is checked and then renamed, so that it is never partial."""

import contextlib
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from zoo.errors import UsageError, ZooError, reason
from zoo.exports.read import FORMAT, SUMS, sha256, versions
from zoo.paths import literal_path
from zoo.recipe import Recipe
from zoo.registry import Card

PART_BYTES = 7 * 2**20  # of the files that hold the weights, so that a repository takes exports of any size
ABANDONED_SECONDS = 3600.0  # after which a folder that was not finished is deleted


def write(
    base: Path,
    serving: tf.Module,
    model: keras.Model | None,
    recipe: Recipe,
    card: Card,
    examples: Mapping[str, np.ndarray],
    metrics: Mapping[str, float],
    arguments: Mapping[str, Any],
    *,
    labels: Sequence[str] | None = None,
    parent: Mapping[str, Any] | None = None,
    members: Sequence[Mapping[str, Any]] = (),
    data: Mapping[str, Any] | None = None,
    stored: Mapping[str, Any] | None = None,
    check: bool = True,
) -> Path:
    """Saves `serving` as the next free version under `base` and returns that folder, `base/VERSION`.

    Args:
      base: the folder of the export, above its versions.
      serving: `endpoints` holds the signatures by name, `weights` the variables in the order of `model.weights`.
      model: the model that is exported; None for an ensemble.
      recipe: the recipe it was trained with.
      card: the model's card.
      examples: requests to the default signature, by input name.
      metrics: what was measured, for the card.
      arguments: those that the model was built with.
      labels: names of the classes, for the card.
      parent: the export that the training started from, for the card; its licence is that of this export, too.
      members: the exports that an ensemble consists of, for the card.
      data: the fingerprint of the data that the model was trained on, for the card.
      stored: how the weights are stored, for the card, where that is not as they were trained.
      check: whether a fresh process without the zoo loads the folder before it gets its name, and must answer
        `examples` as `serving` does, to 1e-5.

    Raises:
      UsageError: `base` is the folder of a run.
      ZooError: the answers differ, or the disk is full or not writable.
    """
    if (base / "recipe.json").exists():
        raise UsageError(f"{base} is a run directory; write the export to another folder.")
    try:
        base.mkdir(parents=True, exist_ok=True)
        for left in base.glob(".writing-*"):  # of a process that was killed; another one may be writing now
            with contextlib.suppress(FileNotFoundError):  # that one has ended
                if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=base))
    except OSError as error:
        raise ZooError(f"The export cannot be written to {base}: {reason(error)}.") from error
    try:
        parts = tf.train.experimental.MaxShardSizePolicy(PART_BYTES)
        options = tf.saved_model.SaveOptions(experimental_sharding_callback=parts)
        tf.saved_model.save(serving, str(literal_path(folder)), serving.endpoints, options)
        more = {
            "parent": dict(parent or {}),
            "members": list(members),
            "data": dict(data or {}),
            "stored": dict(stored or {}),
        }
        _write_extras(folder, model, recipe, card, examples, metrics, arguments, labels, more)
        if check:
            _check(folder, serving, examples)
        _write_sums(folder)
        folder.chmod(0o755)
        return _claim_version(base, folder)
    except (OSError, tf.errors.OpError) as error:
        raise ZooError(f"The export cannot be written to {base}: {reason(error)}.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_extras(
    folder: Path,
    model: keras.Model | None,
    recipe: Recipe,
    card: Card,
    examples: Mapping[str, np.ndarray],
    metrics: Mapping[str, float],
    arguments: Mapping[str, Any],
    labels: Sequence[str] | None,
    more: Mapping[str, Any],
) -> None:
    extras = folder / "assets.extra"
    extras.mkdir()
    plain = asdict(card)
    plain.update(
        format=FORMAT,
        builder=str(card.builder),
        labels=labels,
        metrics=dict(metrics),
        arguments_built={name: value for name, value in arguments.items() if name != "aux_heads"},  # not exported
    )
    plain.update((key, value) for key, value in more.items() if value)
    if parent := more["parent"]:
        plain.update(licence=parent["licence"] or plain["licence"])
    contents = {"recipe.json": recipe.to_dict(), "card.json": plain}
    if model is not None and model.count_params() != card.parameters:  # other sizes than the card's
        trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
        plain.update(parameters=model.count_params(), trainable=trained, macs=None)
        if recipe.model_args:
            stated = ", ".join(f"{name}={value!r}" for name, value in recipe.model_args.items())
            plain.update(summary=f"{card.summary}; here with {stated}" if card.summary else f"with {stated}")
    if model is not None:  # the key of each Keras weight in the SavedModel's own checkpoint: weights are stored once
        keys = {v.path: f"weights/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i, v in enumerate(model.weights)}
        contents["weights.json"] = keys
    for name, content in contents.items():
        (extras / name).write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
    _write_warmup(extras / "tf_serving_warmup_requests", examples)


def _write_warmup(path: Path, examples: Mapping[str, np.ndarray]) -> None:
    """Requests that TensorFlow Serving runs when it loads the model, so that no client waits for tracing."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest(model_spec=model_pb2.ModelSpec(signature_name="serving_default"))
    for name, value in examples.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value[:1]))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
    with tf.io.TFRecordWriter(str(literal_path(path.parent) / path.name)) as writer:
        writer.write(log.SerializeToString())


def _check(folder: Path, serving: tf.Module, examples: Mapping[str, np.ndarray]) -> None:
    endpoint = serving.endpoints["serving_default"]
    names = [spec.name for spec in tf.nest.flatten(endpoint.get_concrete_function().structured_input_signature)]
    if set(names) != set(examples):
        raise ZooError(f"The serving_examples have the inputs {sorted(examples)}; the signature takes {sorted(names)}.")
    expected = endpoint(*(tf.constant(examples[name]) for name in names))
    arrays = {f"in:{name}": value for name, value in examples.items()}
    for name, value in expected.items():
        array = value.numpy()
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ZooError(f"The {name} of the trained model are NaN; nothing was exported.")
        arrays[f"out:{name}"] = array.astype("S") if array.dtype == object else array
    with tempfile.TemporaryDirectory() as scratch:
        answers = Path(scratch) / "answers.npz"
        np.savez(answers, **arrays)
        script = Path(__file__).with_name("check_script.py")
        # -P excludes the script's folder, and so the zoo, from the module path.
        done = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", str(script), str(literal_path(folder)), str(answers)],
            capture_output=True,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    if done.returncode:
        said = (done.stdout or done.stderr).strip().splitlines()[-1:] or ["nothing"]
        raise ZooError(f"The export, loaded in a fresh process, gives other outputs than the trained model: {said[0]}")


def _write_sums(folder: Path) -> None:
    sums = [f"{sha256(path)}  {path.relative_to(folder)}\n" for path in sorted(folder.rglob("*")) if path.is_file()]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


def _claim_version(base: Path, folder: Path) -> Path:
    version = max((int(path.name) for path in versions(base)), default=0) + 1
    while True:
        try:
            return folder.rename(base / str(version))
        except OSError:
            if not (base / str(version)).exists():
                raise
            version += 1  # another process wrote this version first
