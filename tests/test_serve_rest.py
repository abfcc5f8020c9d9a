"""The REST interface of TensorFlow Serving."""

import base64
import gzip
import json
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families

from serving import CHAR_RNN, LENET, Client, make_service, save_examples, save_small


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    save_small(base / "small", 7)
    save_examples(base / "examples" / "1").parent.mkdir(exist_ok=True)
    service = make_service([base, LENET, CHAR_RNN])
    yield Client(service)
    service.manager.stop()


def png(value=0):
    return tf.io.encode_png(tf.fill([28, 28, 1], tf.cast(value, tf.uint8))).numpy()


SMALL = "/v1/models/small"
PREDICT = SMALL + ":predict"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({"instances": [1.0, 2]}, {"predictions": [8.0, 9.0]}),
        ({"instances": [{"x": 1.0}, {"x": 0.5}]}, {"predictions": [8.0, 7.5]}),
        ({"inputs": [1.0, 2.5]}, {"outputs": [8.0, 9.5]}),
        ({"inputs": {"x": [1.0], "ignored": 3}}, {"outputs": [8.0]}),
        ({"signature_name": "serving_default", "inputs": {"x": []}}, {"outputs": []}),
        (
            {"signature_name": "two", "instances": [{"a": [1, 2], "b": 3}, {"b": -1, "a": [0.5, 0]}]},
            {"predictions": [{"sums": 6.0, "twice": 6}, {"sums": -0.5, "twice": -2}]},
        ),
        (
            {"signature_name": "two", "inputs": {"a": [[1, 2]], "b": [3]}},
            {"outputs": {"sums": [6.0], "twice": [6]}},
        ),
        (
            {"signature_name": "strings", "instances": ["é", {"b64": base64.b64encode(b"x").decode()}]},
            {
                "predictions": [
                    {"text": "é", "raw_bytes": {"b64": base64.b64encode("é\xff".encode()).decode()}},
                    {"text": "x", "raw_bytes": {"b64": base64.b64encode("x\xff".encode()).decode()}},
                ]
            },
        ),
        ({"signature_name": "whole", "instances": [2**63 - 1, -(2**63)]}, {"predictions": [2**63 - 1, -(2**63)]}),
        ({"signature_name": "uneven", "inputs": [1.0, 2.0]}, {"outputs": {"x": [1.0, 2.0], "total": 3.0}}),
    ],
)
def test_predict(client, request_, answer):
    assert client.json("POST", PREDICT, request_) == (200, answer)
    assert client.json("POST", f"{SMALL}/versions/7:predict", request_) == (200, answer)


def test_nan_and_infinity_are_numbers(client):
    status, answer = client.json("POST", PREDICT, b'{"instances": [NaN, Infinity, -Infinity, 1e-7, 123456789.0]}')
    values = answer["predictions"]
    assert status == 200 and math.isnan(values[0]) and values[1:3] == [math.inf, -math.inf]
    assert values[3:] == pytest.approx([7.0000001, 123456796.0], rel=1e-6)


def test_whole_numbers_keep_every_digit(client):
    assert client.json("POST", PREDICT, {"instances": [2**70]})[1] == {"predictions": [float(np.float32(2**70) + 7)]}
    large = [2**64 - 1, 0, 5]
    request = {"signature_name": "unsigned", "instances": large}
    assert client.json("POST", PREDICT, request) == (200, {"predictions": large})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"[1]", "must be a JSON object"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON Parse error"),
        ({}, "exactly one of 'instances' and 'inputs'"),
        ({"instances": [1], "inputs": [1]}, "exactly one"),
        ({"instances": []}, "non-empty list"),
        ({"instances": 3}, "non-empty list"),
        ({"instances": [{"z": 1}]}, "exactly the keys x; found z"),
        ({"instances": [{"x": 1}, {"x": 1, "y": 2}]}, "element: 1"),
        ({"instances": [1, {"x": 1}]}, "mixes"),
        ({"instances": ["one"]}, "expects float32; found strings"),
        ({"instances": [True]}, "found booleans"),
        ({"instances": [True, 2.0]}, "expects float32"),
        ({"instances": [None]}, "expects float32"),
        ({"instances": [1, 2, "3"]}, "found strings"),
        ({"instances": [0.5, 1e39]}, "expects float32: -3.4"),
        (b'{"instances": [0.5, Infinity, -1e400]}', "expects float32: -3.4"),
        (b'{"instances": [1], "instances": [2]}', "has the key 'instances' twice"),
        (b'{"instances": [{"x": 1, "x": 2}]}', "has the key 'x' twice"),
        ({"instances": [[1, 2], [3]]}, "not a rectangular list"),
        ({"instances": [[1, 2]]}, r"has shape \[1, 2\]; the signature expects \[-1\]"),
        ({"inputs": 4.0}, "has shape"),
        ({"signature_name": 5, "instances": [1]}, "must be a string"),
        ({"signature_name": "none", "instances": [1]}, 'name: "none" not found in signature def'),
        ({"signature_name": "__saved_model_init_op", "inputs": {}}, "not found"),
        ({"signature_name": "two", "inputs": {"a": [[1, 2]]}}, "Missing 'inputs' key: b"),
        ({"signature_name": "two", "inputs": [1]}, "inputs a, b"),
        ({"signature_name": "two", "instances": [1]}, "inputs a, b"),
        ({"signature_name": "whole", "instances": [1.0]}, "found floating-point numbers"),
        ({"signature_name": "whole", "instances": [2**63, -1]}, "expects int64: -9223372036854775808 to"),
        ({"signature_name": "two", "inputs": {"a": [[1, 2]], "b": [2**31]}}, "-2147483648 to 2147483647"),
        ({"signature_name": "strings", "instances": [5]}, "expects strings; found a number"),
        ({"signature_name": "strings", "instances": [{"b64": "!"}]}, "not valid Unicode or base64"),
        (b'{"signature_name": "strings", "instances": ["\\ud800"]}', "not valid Unicode"),
        ({"signature_name": "strings", "instances": [["a"], "b"]}, "not a rectangular list"),
        ({"signature_name": "uneven", "instances": [1.0]}, "no common batch dimension"),
        ({"signature_name": "half", "instances": [1.0]}, "JSON cannot represent"),
        ({"signature_name": "positive", "instances": [-1.0]}, "x must be 0 or more"),
    ],
)
def test_wrong_requests_get_an_error_with_the_reason(client, request_, message):
    status, answer = client.json("POST", PREDICT, request_)
    assert (status, list(answer)) == (400, ["error"])
    assert re.search(message, answer["error"])


def test_status_and_metadata(client):
    version = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (SMALL, f"{SMALL}/versions/7", SMALL.upper().replace("SMALL", "small")):
        assert client.json("GET", path) == (200, {"model_version_status": [version]})
    status, answer = client.json("GET", f"{SMALL}/metadata")
    assert status == 200 and answer["model_spec"] == {"name": "small", "signature_name": "", "version": "7"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["two"]
    assert signature["method_name"] == "tensorflow/serving/predict" and signature["defaults"] == {}
    shape = signature["inputs"]["a"]["tensor_shape"]
    assert [dim["size"] for dim in shape["dim"]] == ["-1", "2"] and shape["unknown_rank"] is False
    assert signature["inputs"]["a"]["dtype"] == "DT_FLOAT" and signature["outputs"]["twice"]["dtype"] == "DT_INT32"


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/none", 404, "Servable not found for request: Latest(none)"),
        ("POST", "/v1/models/none:predict", 404, "Servable not found for request: Latest(none)"),
        ("POST", f"{SMALL}/versions/8:predict", 404, "Servable not found for request: Specific(small, 8)"),
        ("GET", f"{SMALL}/versions/8", 404, "Could not find version 8 of model small"),
        ("GET", f"{SMALL}/labels/stable", 400, "Unrecognized servable version label: stable"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("POST", "/v1/models:predict", 400, "Missing model name in request."),
        ("GET", PREDICT, 400, f"Malformed request: GET {PREDICT}"),
        ("DELETE", SMALL, 400, f"Malformed request: DELETE {SMALL}"),
        ("POST", f"{SMALL}:guess", 400, f"Malformed request: POST {SMALL}:guess"),
        ("GET", f"{SMALL}/versions/x", 400, f"Malformed request: GET {SMALL}/versions/x"),
        ("GET", "/v1/models/../../etc/passwd", 400, "Malformed request: GET /v1/models/../../etc/passwd"),
        ("POST", f"{SMALL}:classify", 400, None),
    ],
)
def test_unknown_paths_and_models(client, method, path, status, message):
    found, answer = client.json(method, path, {"instances": [1], "examples": [{}]} if method == "POST" else b"")
    assert found == status
    assert answer["error"] == message if message else "method_name to be" in answer["error"]


def test_gzip_bodies(client):
    body = gzip.compress(json.dumps({"instances": [1.0]}).encode())
    assert client.json("POST", PREDICT, body, {"Content-Encoding": "gzip"}) == (200, {"predictions": [8.0]})
    assert client.json("POST", PREDICT, body[:-9], {"Content-Encoding": "gzip"})[0] == 400
    assert client.json("POST", PREDICT, body * 2, {"Content-Encoding": "gzip"})[0] == 400
    assert client.json("POST", PREDICT, b"{}", {"Content-Encoding": "gzip"})[0] == 400
    assert client.json("POST", PREDICT, b"{}", {"Content-Encoding": "br"})[0] == 415


def test_images(client):
    path = "/v1/models/lenet5_mnist:predict"
    instances = [{"b64": base64.b64encode(png(value)).decode()} for value in (0, 255)]
    status, one = client.json("POST", path, {"signature_name": "image_bytes", "instances": instances})
    pixels = [[[[value]] * 28] * 28 for value in (0, 255)]
    assert status == 200 and set(one["predictions"][0]) == {"classes", "labels", "probabilities"}
    assert client.json("POST", path, {"instances": pixels}) == (200, one)
    status, answer = client.json("POST", path, {"signature_name": "image_bytes", "instances": ["no image"]})
    assert status == 400 and "image" in answer["error"] and "/" not in answer["error"].replace("image/", "")


def test_classify_and_regress(client):
    request = {"examples": [{"a": 1.5}, {"a": 2, "b": 0.5}], "context": {"b": 0.25}}
    expected = [[["a", 1.5], ["b", 0.25]], [["a", 2.0], ["b", 0.5]]]
    floats = {**request, "examples": [{"a": 1.5}, {"a": 2.0, "b": 0.5}]}
    assert client.json("POST", "/v1/models/examples:classify", floats) == (200, {"results": expected})
    floats["signature_name"] = "sum"
    assert client.json("POST", "/v1/models/examples:regress", floats) == (200, {"results": [1.75, 2.5]})
    status, answer = client.json("POST", "/v1/models/examples:regress", request)
    assert status == 400 and answer["error"].endswith("Was: tensorflow/serving/classify")
    for wrong in (
        {},
        {"examples": []},
        {"examples": [3]},
        {"examples": [{"a": None}]},
        {"examples": [{"a": [1, "x"]}]},
    ):
        assert client.json("POST", "/v1/models/examples:classify", wrong)[0] == 400


def test_health_and_metrics(client):
    assert client("GET", "/healthz")[0] == 200
    before = counts(client)
    client.json("POST", PREDICT, {"instances": [1.0]})
    client.json("POST", PREDICT, {"instances": ["x"]})
    client.json("POST", "/v1/models/unknown:predict", {"instances": [1]})
    after = counts(client)
    assert after["OK"] == before.get("OK", 0) + 1
    assert after["INVALID_ARGUMENT"] == before.get("INVALID_ARGUMENT", 0) + 1
    text = client("GET", "/monitoring/prometheus/metrics")[2].decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert "unknown" not in text
    latency = families[":tensorflow:serving:request_latency"]
    labels = [sample.labels for sample in latency.samples if sample.name.endswith("_bucket")]
    assert {"model_name": "small", "API": "Predict", "entrypoint": "REST", "le": "10.0"} in labels
    assert families[":tensorflow:serving:runtime_latency"].type == "histogram"


def test_the_page_gets_the_default_signature_first(client):
    models = {model["name"]: model for model in json.loads(client("GET", "/page/models")[2])["models"]}
    for model in models.values():
        first, *others = model["signatures"]
        assert first == "serving_default" and others == sorted(others)
    assert set(models["small"]["signatures"]) > {"serving_default", "half", "two"}


def counts(client):
    text = client("GET", "/monitoring/prometheus/metrics")[2].decode()
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    found = re.findall(
        r'^:tensorflow:serving:request_count{model_name="small",status="(.*?)"} (.*)$', text, re.MULTILINE
    )
    return {status: float(value) for status, value in found}


def events(body):
    found = []
    for block in body.decode().strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines.get("event", ""), json.loads(lines["data"])))
    return found


@pytest.mark.parametrize(("seed", "temperature", "length"), [(3, 0.7, 300), (4, 1.0, 17), (0, 0.0, 64), (5, 0.5, 0)])
def test_a_streamed_text_is_the_text_of_one_request(client, seed, temperature, length):
    row = {"prompt": "KING:\n", "length": length, "temperature": temperature, "seed": seed}
    path = "/v1/models/char_rnn_tiny_shakespeare_fast"
    status, headers, body = client("POST", path + ":generate", row)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *pieces, (last, end) = events(body)
    assert last == "end" and {kind for kind, _ in pieces} <= {""}
    assert "".join(piece["text"] for _, piece in pieces) == end["text"]
    assert len(pieces) == {300: 11, 17: 2, 64: 4, 0: 0}[length]
    assert client.json("POST", path + ":predict", {"instances": [row]}) == (200, {"predictions": [end["text"]]})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"length": 10**6}, "the limit is 2000"),
        ({"length": -1}, "length must be 0 or more"),
        ({"temperature": "hot"}, "expects float32"),
        ({"prompt": ["a"]}, "has shape"),
        ({"words": 3}, "Unknown key 'words'"),
        ({"signature_name": "score"}, "does not generate text"),
    ],
)
def test_wrong_generate_requests(client, request_, message):
    status, answer = client.json("POST", "/v1/models/char_rnn_tiny_shakespeare_fast:generate", request_)
    assert status == 400 and message in answer["error"]
    assert client.json("POST", "/v1/models/small:generate", {})[0] == 400
