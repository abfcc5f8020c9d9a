"""docs/serving.md: its clients run as written, its flags and files exist; every export is served."""

import argparse
import contextlib
import fcntl
import io
import json
import re
import socket
import subprocess
import tempfile
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2, prediction_service_pb2_grpc

from conftest import EXPORTS, ROOT
from serving import serving
from zoo.serve import command

TEXT = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Path(tempfile.gettempdir(), "zoo-serving-ports").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the tests may have the ports that docs/serving.md names
        for port in (8500, 8501):
            with contextlib.closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    pytest.skip(f"port {port}, which docs/serving.md names, is in use")
        with serving(tmp_path_factory.mktemp("log"), "--port", "8501", "--grpc-port", "8500") as server:
            yield server


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_curl_commands_answer(server):
    first, stream = blocks("bash")
    done = subprocess.run(["bash", "-euc", first], capture_output=True, text=True, timeout=60)
    status, rest = done.stdout.split("]}", 1)
    assert '"state":"AVAILABLE"' in status and '"translation":"2024-03-11"' in rest and done.returncode == 0
    done = subprocess.run(["bash", "-euc", stream], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith('data: {"text":"') and "event: end\n" in done.stdout


def test_the_python_clients_answer(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digit.png").write_bytes(tf.io.encode_png(np.zeros((28, 28, 1), np.uint8)).numpy())
    rest, remote = blocks("python")
    for block, pattern in ((rest, r"\d [\d.e-]+\n"), (remote, r"\[\d \d\] \(2, 10\)\n")):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            exec(block, {})
        assert re.fullmatch(pattern, said.getvalue())


@pytest.mark.parametrize("folder", EXPORTS, ids=lambda path: path.parent.name)
def test_every_export_answers_alike_by_rest_grpc_and_curl(server, folder, tmp_path):
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests")).as_numpy_iterator()
    request = prediction_log_pb2.PredictionLog.FromString(next(records)).predict_log.request
    request.model_spec.name = folder.parent.name
    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        remote = {name: tf.make_ndarray(value) for name, value in stub.Predict(request, timeout=60).outputs.items()}
    inputs = {name: plain(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    url = f"{server.url}/v1/models/{folder.parent.name}:predict"
    body = json.dumps({"inputs": inputs}).encode()
    with urllib.request.urlopen(url, body, timeout=60) as response:
        outputs = json.load(response)["outputs"]
    (tmp_path / "body.json").write_bytes(body)
    curl = subprocess.run(["curl", "-s", "-d", f"@{tmp_path / 'body.json'}", url], capture_output=True, timeout=60)
    assert json.loads(curl.stdout)["outputs"] == outputs
    outputs = outputs if isinstance(outputs, dict) else {next(iter(remote)): outputs}
    assert set(outputs) == set(remote)
    for name, value in remote.items():
        if value.dtype == object:
            assert outputs[name] == plain(value)
        else:
            np.testing.assert_allclose(np.array(outputs[name]), value, rtol=1e-6, atol=1e-7)


def plain(array):
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist() if array.dtype == object else array.tolist()


def flags_of(add):
    parser = argparse.ArgumentParser()
    add(parser)
    return set(re.findall(r"--[a-z][a-z-]+", parser.format_help())), vars(parser.parse_args([]))


def test_the_flags_and_defaults_are_those_of_the_command():
    serve, defaults = flags_of(command.add_flags)
    named = set(re.findall(r"--[a-z][a-z-]+", TEXT.partition("## Measured")[0]))
    assert named <= serve | flags_of(command.add_config_flags)[0]
    assert {"--max-pixels", "--drain-seconds", "--api-key-file"} <= named
    rows = re.findall(r"^\| `--([a-z-]+)` \| ([\d,]+)( MiB)? ", TEXT, re.MULTILINE)
    assert len(rows) == 7
    for flag, number, unit in rows:
        assert defaults[flag.replace("-", "_")] == int(number.replace(",", "")) * (2**20 if unit else 1), flag


def test_the_pages_pictures_and_the_deployments_files_are_there():
    for name in re.findall(r"images/[\w-]+\.png", TEXT):
        assert (ROOT / "docs" / name).stat().st_size < 200_000
    compose = (ROOT / "deploy" / "docker-compose.yml").read_text(encoding="utf-8")
    manifest = (ROOT / "deploy" / "serving.yaml").read_text(encoding="utf-8")
    for name in ("models.config", "batching.config", "monitoring.config"):
        assert (ROOT / "deploy" / name).is_file()
        assert f"/config/{name}" in compose and f"/config/{name}" in manifest
    models = (ROOT / "deploy" / "models.config").read_text(encoding="utf-8")
    assert re.findall(r'base_path: "/models/(.*?)"', models) == sorted({folder.parent.name for folder in EXPORTS})
