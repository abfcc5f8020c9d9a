"""The running server: shutdown, and misbehaving clients on a real connection."""

import contextlib
import json
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import save_small, serving


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    base = tmp_path_factory.mktemp("models") / "small"
    save_small(base, 1)
    return base


@pytest.fixture(scope="module")
def server(small, tmp_path_factory):
    with serving(
        tmp_path_factory.mktemp("log"), small, "--request-seconds", "3", "--max-body-bytes", "100000"
    ) as server:
        yield server


def ask(server, body, path="/v1/models/small:predict", timeout=30):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return json.load(response)


def test_sigterm_finishes_what_runs_and_exits_with_0(small, tmp_path):
    with serving(tmp_path, small) as server:
        # Of several, because the first one is slower, and others may run beside other processes.
        seconds = []
        for _ in range(5):
            begin = time.monotonic()
            ask(server, {"signature_name": "slow", "instances": [20_000]})
            seconds.append(time.monotonic() - begin)
        steps = int(20_000 * max(2.0, 4.0 / min(seconds)))  # four seconds at the greatest speed that was seen
        answers = []
        rest = threading.Thread(
            target=lambda: answers.append(ask(server, {"signature_name": "slow", "inputs": [steps]}))
        )

        def call():
            with grpc.insecure_channel(server.grpc) as channel:
                request = predict_pb2.PredictRequest()
                request.model_spec.name, request.model_spec.signature_name = "small", "slow"
                request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.array([steps], np.int32)))
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                answers.append({"outputs": tf.make_ndarray(stub.Predict(request).outputs["done"]).tolist()})

        remote = threading.Thread(target=call)
        idle = socket.create_connection(("127.0.0.1", server.port))  # does not hold the server up
        for thread in (rest, remote):
            thread.start()
        time.sleep(0.7)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
        assert server.process.poll() is None
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.port)).close()
        for thread in (rest, remote):
            thread.join()
        assert answers == [{"outputs": [steps]}] * 2
        assert server.process.wait(10) == 0
        idle.close()
        assert "Traceback" not in server.output()


def test_sigterm_waits_at_most_drain_seconds(small, tmp_path):
    with serving(tmp_path, small, "--drain-seconds", "1") as server:
        slow = threading.Thread(
            target=lambda: pytest.raises(OSError, ask, server, {"signature_name": "slow", "inputs": [10**9]})
        )
        slow.start()
        time.sleep(1)
        begin = time.monotonic()
        assert server.stop(20) == 0
        assert time.monotonic() - begin < 10
        slow.join()


def test_a_new_version_is_picked_up_by_the_running_server(tmp_path):
    save_small(tmp_path / "small", 1)
    with serving(tmp_path, tmp_path / "small", "--poll-seconds", "0.2") as server:
        assert ask(server, {"instances": [0]}) == {"predictions": [1.0]}
        save_small(tmp_path / "small", 2)
        ends = time.monotonic() + 20
        while ask(server, {"instances": [0]}) != {"predictions": [2.0]}:
            assert time.monotonic() < ends
        broken = tmp_path / "small" / "3"
        broken.mkdir()
        (broken / "saved_model.pb").write_bytes(b"broken")
        while "version 3 cannot be loaded" not in server.output():
            assert time.monotonic() < ends
        assert ask(server, {"instances": [0]}) == {"predictions": [2.0]}


@contextlib.contextmanager
def connect(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
        yield connection


HEAD = b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n"


def rest_of(connection):
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_a_client_that_stops_sending_is_disconnected(server):
    with connect(server) as silent, connect(server) as header, connect(server) as body:
        header.sendall(HEAD)
        body.sendall(HEAD + b"\r\n{")
        begin = time.monotonic()
        assert rest_of(body).startswith(b"HTTP/1.1 408 ")
        assert 2 < time.monotonic() - begin < 9
        assert rest_of(silent) == rest_of(header) == b""
        assert time.monotonic() - begin < 30


def test_a_slow_client_is_disconnected(server):
    begin = time.monotonic()
    with pytest.raises(OSError), connect(server) as connection:
        connection.sendall(HEAD + b"\r\n")
        while time.monotonic() - begin < 30:
            connection.sendall(b" ")
            time.sleep(0.2)
    assert time.monotonic() - begin < 20


def test_headers_without_end_are_refused(server):
    with pytest.raises(OSError), connect(server) as connection:
        connection.sendall(HEAD + b"X: ")
        for _ in range(1000):
            connection.sendall(b"x" * 10_000)
    assert ask(server, {"instances": [0]}) == {"predictions": [1.0]}


def test_a_body_that_is_too_large_is_answered(server):
    with connect(server) as connection:
        connection.sendall(HEAD.replace(b"50", b"300000") + b"\r\n" + b" " * 300_000)
        assert rest_of(connection).startswith(b"HTTP/1.1 413 ")


def test_disconnected_clients_release_their_resources(server):
    for _ in range(200):
        with connect(server) as connection:
            body = b'{"signature_name": "slow", "instances": [1000], "a": 1}'
            connection.sendall(HEAD.replace(b"50", b"%d" % len(body)) + b"\r\n" + body)
    begin = time.monotonic()
    while ask(server, {"instances": [0]}) != {"predictions": [1.0]}:
        pass
    assert time.monotonic() - begin < 20


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\x03" * 100 + b"\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET /v1/models/%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /page/..%2f..%2fmanager.py HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_bytes_that_are_not_a_request(server, data):
    with connect(server) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = rest_of(connection)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"") and b"root:" not in answer and b"import" not in answer
    assert ask(server, {"instances": [0]}) == {"predictions": [1.0]}


def test_an_abandoned_stream_ends(tmp_path):
    from serving import CHAR_RNN

    with serving(tmp_path, CHAR_RNN, "--max-concurrent", "2") as server:
        body = json.dumps({"prompt": "a", "length": 2000}).encode()
        head = f"POST /v1/models/{CHAR_RNN.name}:generate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        for _ in range(6):  # more than may run at a time: each must have let go
            with connect(server) as connection:
                connection.sendall(head.encode() + body)
                assert connection.recv(20).startswith(b"HTTP/1.1 200")
            time.sleep(1)
        ask(
            server,
            {"instances": [{"prompt": "", "length": 1, "temperature": 1.0, "seed": 0}]},
            f"/v1/models/{CHAR_RNN.name}:predict",
        )
