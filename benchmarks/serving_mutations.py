"""Requests that the exports answer, and how `serving_fuzz.py` changes them."""

import base64
import gzip
import io
import json
import random

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

ODD = [
    0, 1, -1, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63), 2**63, 10**30, 1e308, -1e308, 1e-320, 0.5, -0.0,
    float("nan"), float("inf"), float("-inf"), True, False, None, "", "a", "\x00", "\ud800", "é" * 50, "🦓", "a" * 400,
    {}, [], [[]], [[[[[]]]]], {"b64": ""}, {"b64": "AAAA"}, {"b64": "%"}, {"b64": 3}, {"": 0}, "../../etc/passwd",
]  # fmt: skip


def pictures(rng: random.Random) -> list[bytes]:
    """Files of each kind that TensorFlow decodes."""
    pixels = np.frombuffer(rng.randbytes(32 * 32 * 3), np.uint8).reshape(32, 32, 3)
    files = []
    for kind, mode in (
        ("PNG", "RGB"),
        ("PNG", "L"),
        ("PNG", "P"),
        ("JPEG", "RGB"),
        ("JPEG", "CMYK"),
        ("GIF", "P"),
        ("BMP", "RGB"),
    ):
        file = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(file, kind)
        files.append(file.getvalue())
    return files


def seeds(rng: random.Random) -> list[tuple[str, dict]]:
    """Paths and requests that are answered."""
    found = []
    for name in ("lenet5_mnist", "resnet20_cifar10_fast"):
        channels = 1 if name.startswith("lenet") else 3
        image = [[[rng.randrange(256) for _ in range(channels)] for _ in range(6)] for _ in range(6)]
        for signature in ("serving_default", "features", "preprocess"):
            found.append((f"/v1/models/{name}:predict", {"signature_name": signature, "instances": [image]}))
        found.append((f"/v1/models/{name}:predict", {"inputs": {"images": [image, image]}}))
        for content in pictures(rng):
            row = {"image_bytes": {"b64": base64.b64encode(content).decode()}}
            found.append((f"/v1/models/{name}:predict", {"signature_name": "image_bytes", "instances": [row]}))
    row = {"prompt": "To be", "length": 5, "temperature": 0.5, "seed": 1}
    found.append(("/v1/models/char_rnn_tiny_shakespeare_fast:predict", {"instances": [row, row]}))
    found.append(("/v1/models/char_rnn_tiny_shakespeare_fast:generate", row))
    found.append(("/v1/models/char_rnn_tiny_shakespeare_fast:predict", {"signature_name": "score", "inputs": ["abc"]}))
    for signature in ("serving_default", "beam"):
        found.append(("/v1/models/seq2seq_dates:predict", {"signature_name": signature, "instances": ["1 May 2024"]}))
    found.append(("/v1/models/lenet5_mnist/versions/1:classify", {"examples": [{"a": 1.0}], "context": {"b": ["x"]}}))
    return found


def change_json(rng: random.Random, value):
    """The value with something inside replaced, removed, doubled or wrapped."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(list(value))
        changed = dict(value)
        match rng.randrange(6):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(["x", "b64", "instances", "inputs", "signature_name", key + " "])] = rng.choice(ODD)
            case 2:
                changed[key] = rng.choice(ODD)
            case _:
                changed[key] = change_json(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        match rng.randrange(7):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value * rng.choice([0, 2, 3, 40])
            case 2:
                return [*value[:at], rng.choice(ODD), *value[at + 1 :]]
            case _:
                return [*value[:at], change_json(rng, value[at]), *value[at + 1 :]]
    match rng.randrange(3):
        case 0:
            return [value]
        case 1 if isinstance(value, str) and len(value) > 40:  # an image
            try:
                return base64.b64encode(change_bytes(rng, base64.b64decode(value))).decode()
            except ValueError:
                return value[1:]
        case _:
            return rng.choice(ODD)


def change_bytes(rng: random.Random, content: bytes) -> bytes:
    """The bytes with a few changed, removed, inserted, or a part repeated."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(content) + 1)
        match rng.randrange(5):
            case 0 if content:
                content[at % len(content)] = rng.randrange(256)
            case 1:
                del content[at : at + rng.randrange(1, 20)]
            case 2:
                content[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 3:
                content[at:at] = content[at : at + 30]
            case _ if content:
                content[at % len(content)] ^= 1 << rng.randrange(8)
    return bytes(content)


def mutated(rng: random.Random, path: str, request: dict) -> bytes:
    """A whole HTTP request."""
    headers, method = "", "POST"
    for _ in range(rng.choice([1, 1, 1, 2])):
        request = change_json(rng, request)
    body = json.dumps(request).encode("utf-8", "replace")
    if rng.random() < 0.2:
        body = change_bytes(rng, body)
    if rng.random() < 0.05:
        body = gzip.compress(body)
        body = change_bytes(rng, body) if rng.random() < 0.5 else body
        headers += "Content-Encoding: gzip\r\n"
    if rng.random() < 0.1:
        method = rng.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
        other = [
            "/",
            "/page/models",
            "/page/../../x",
            "/healthz",
            "/monitoring/prometheus/metrics",
            "/v1/models",
            "/v2",
        ]
        cut = rng.randrange(len(path))
        path = rng.choice([*other, path[:cut], path[:cut] + "%2e%2e%2f" + path[cut:], path + "/metadata", path.upper()])
        path = path if path.startswith("/") else "/" + path
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def messages(rng: random.Random) -> list[bytes]:
    """Messages of Predict that are answered."""
    found = []
    for name, inputs in (
        ("lenet5_mnist", {"images": np.zeros((1, 6, 6, 1), np.uint8)}),
        ("seq2seq_dates", {"text": np.array([b"1 May 2024"], object)}),
        (
            "char_rnn_tiny_shakespeare_fast",
            {
                "prompt": np.array([b"a"], object),
                "length": np.array([3], np.int32),
                "temperature": np.array([0.5], np.float32),
                "seed": np.array([1], np.int32),
            },
        ),
    ):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        found.append(request.SerializeToString())
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "lenet5_mnist", "image_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(pictures(rng)))
    return [*found, request.SerializeToString()]
