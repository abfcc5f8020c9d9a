"""Random requests on every route: no server error and no path of the machine in a response."""

import base64
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import ROOT, run_python
from serving import CHAR_RNN, LENET, Client, make_service, save_examples, save_small
from zoo.serve.settings import Limits

LEAKS = re.compile(r"/(?:root|home|usr|tmp|work)/|site-packages|Traceback|\.py\b|[\"']?File ")
COMMON = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    save_small(base / "small", 1)
    save_examples(base / "examples" / "1")
    service = make_service(
        [base, LENET, CHAR_RNN], Limits(length=20, text_bytes=200, body_bytes=100_000, pixels=100_000)
    )
    yield Client(service)
    assert Client(service).json("POST", "/v1/models/small:predict", {"instances": [1]}) == (200, {"predictions": [2.0]})
    service.manager.stop()


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.fixed_dictionaries({"b64": st.binary(max_size=30).map(lambda raw: base64.b64encode(raw).decode())})
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["signature_name", "instances", "inputs", "examples", "context", "prompt", "length", "seed", "x"]
)
signatures = st.sampled_from(
    ["serving_default", "two", "strings", "whole", "half", "uneven", "image_bytes", "score", "sum"]
)
rows = st.dictionaries(
    st.sampled_from(["x", "a", "b", "n", "text", "prompt", "length", "temperature", "seed", "images", "image_bytes"]),
    anything,
    max_size=4,
)
requests = (
    st.dictionaries(keys, anything, max_size=4)
    | st.fixed_dictionaries({"signature_name": signatures, "instances": st.lists(rows | anything, max_size=4)})
    | st.fixed_dictionaries({"signature_name": signatures, "inputs": rows | anything})
    | st.fixed_dictionaries({"prompt": anything, "length": anything, "temperature": anything, "seed": anything})
    | st.fixed_dictionaries({"examples": st.lists(rows, max_size=3), "context": rows})
    | anything
)
MODELS = ["small", "examples", "lenet5_mnist", "char_rnn_tiny_shakespeare_fast"]


def check(answer, allowed=(200, 400, 401, 404, 405, 408, 413, 415, 429)):
    status, headers, body = answer
    assert status in allowed, (status, body[:300])
    if status >= 400:
        assert not LEAKS.search(body.decode()), body
        if headers["content-type"] == "application/json":
            assert list(json.loads(body)) == ["error"]


@COMMON
@given(
    model=st.sampled_from(MODELS),
    verb=st.sampled_from(["predict", "classify", "regress", "generate"]),
    request=requests,
)
def test_any_json(client, model, verb, request):
    check(client("POST", f"/v1/models/{model}:{verb}", json.dumps(request).encode("utf-8", "replace")))


@COMMON
@given(
    model=st.sampled_from(MODELS),
    body=st.binary(max_size=200),
    encoding=st.sampled_from(["", "gzip", "identity", "deflate", "x-gzip, br"]),
)
def test_any_bytes(client, model, body, encoding):
    check(client("POST", f"/v1/models/{model}:predict", body, {"Content-Encoding": encoding}))


parts = st.sampled_from(
    ["v1", "models", "small", "..", ".", "", "versions", "1", "99999999999999999999", "labels", "a:b"]
)
paths = st.lists(parts | st.text(max_size=6), max_size=7).map("/".join) | st.text(max_size=30)


@COMMON
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "DELETE", "TRACE"]),
    path=paths,
    end=st.sampled_from(["", ":predict", "/metadata"]),
)
def test_any_path(client, method, path, end):
    status, _, body = client(method, "/" + path + end)
    assert status in (200, 307, 400, 404, 405), (status, body[:300])
    assert b"root:" not in body and b"def " not in body


SCHEMA = {
    "openapi": "3.1.0",
    "info": {"title": "TensorFlow Serving's REST interface", "version": "1"},
    "paths": {
        "/v1/models/{model}": {"get": {}},
        "/v1/models/{model}/metadata": {"get": {}},
        "/v1/models/{model}/versions/{version}": {"get": {}},
        "/v1/models/{model}:predict": {
            "post": {
                "signature_name": {"type": "string"},
                "instances": {"type": "array"},
                "inputs": {},
            }
        },
        "/v1/models/{model}:classify": {"post": {"examples": {"type": "array"}, "context": {"type": "object"}}},
        "/v1/models/{model}:regress": {"post": {"examples": {"type": "array"}, "context": {"type": "object"}}},
        "/v1/models/{model}:generate": {
            "post": {
                "prompt": {"type": "string"},
                "length": {"type": "integer"},
                "temperature": {"type": "number"},
                "seed": {"type": "integer"},
            }
        },
        "/healthz": {"get": {}},
        "/page/models": {"get": {}},
        "/monitoring/prometheus/metrics": {"get": {}},
    },
}


def openapi():
    """The routes as an OpenAPI document."""
    paths = {}
    for path, methods in SCHEMA["paths"].items():
        names = re.findall(r"{(\w+)}", path)
        types = {"model": {"enum": [*MODELS, "none"]}, "version": {"type": "integer"}}
        given_ = [{"name": name, "in": "path", "required": True, "schema": types[name]} for name in names]
        paths[path] = {}
        for method, properties in methods.items():
            operation = {"parameters": given_, "responses": {"200": {"description": "answered"}}}
            if method == "post":
                schema = {"type": "object", "properties": properties}
                operation["requestBody"] = {"content": {"application/json": {"schema": schema}}}
            paths[path][method] = operation
    return {**SCHEMA, "paths": paths}


def test_schemathesis_finds_no_error_of_the_server(client):
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    schema = schemathesis.openapi.from_dict(openapi())
    for operation in (result.ok() for result in schema.get_all_operations()):

        @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def run(case):
            body = case.body if isinstance(case.body, (dict, list, str, int, float, bool)) else None
            sent = json.dumps(body).encode("utf-8", "replace") if body is not None else b""
            check(client(case.method, case.formatted_path, sent))

        run()


@pytest.mark.full
def test_many_mutated_requests_leave_the_server_alive():
    done = run_python(ROOT / "benchmarks" / "serving_fuzz.py", "--bodies", 3000, timeout=590)
    assert done.returncode == 0, done.stdout
