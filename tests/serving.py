"""Shared by the tests of the server: small SavedModels, an application without sockets, and a server process."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time

import tensorflow as tf

from conftest import ROOT

LENET = ROOT / "saved_models" / "lenet5_mnist"
CHAR_RNN = ROOT / "saved_models" / "char_rnn_tiny_shakespeare_fast"


class Small(tf.Module):
    """A model with a signature for each case of the protocol."""

    def __init__(self, offset):
        super().__init__()
        self.offset = tf.Variable(float(offset))
        self.endpoints = {
            "serving_default": self.add,
            "two": self.two,
            "strings": self.strings,
            "whole": self.whole,
            "unsigned": self.unsigned,
            "uneven": self.uneven,
            "half": self.half,
            "slow": self.slow,
            "positive": self.positive,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def add(self, x):
        return {"y": x + self.offset}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "a"), tf.TensorSpec([None], tf.int32, "b")])
    def two(self, a, b):
        return {"sums": tf.reduce_sum(a, 1) + tf.cast(b, tf.float32), "twice": 2 * b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def strings(self, text):
        return {"text": text, "raw_bytes": tf.strings.join([text, "\xff"])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "n")])
    def whole(self, n):
        return {"n": n}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.uint64, "n")])
    def unsigned(self, n):
        return {"n": n}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def uneven(self, x):
        return {"x": x, "total": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float16, "x")])
    def half(self, x):
        return {"x": x}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "steps")])
    def slow(self, steps):
        """About a second for each 100,000 steps."""
        done = tf.while_loop(lambda i: i < steps[0], lambda i: [i + 1], [0], parallel_iterations=1)[0]
        return {"done": tf.fill(tf.shape(steps), done)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def positive(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x must be 0 or more")]):
            return {"root": tf.sqrt(x)}


def save_small(base, version, offset=None):
    """Writes a version of the small model atomically and returns its folder."""
    module, folder = Small(version if offset is None else offset), base / str(version)
    base.mkdir(parents=True, exist_ok=True)
    tf.saved_model.save(module, str(base / f".{version}"), signatures=module.endpoints)
    return (base / f".{version}").rename(folder)


def save_examples(folder):
    """Writes a SavedModel of `tf.Example`s with a classification and a regression signature, as TF 1 wrote them."""
    v1 = tf.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], "examples")
        features = {"a": tf.io.FixedLenFeature([], tf.float32), "b": tf.io.FixedLenFeature([], tf.float32)}
        parsed = tf.io.parse_example(serialized, features)
        total = parsed["a"] + parsed["b"]
        scores = tf.stack([parsed["a"], parsed["b"]], 1)
        classes = tf.tile(tf.constant([["a", "b"]]), [tf.size(total), 1])
        builder = v1.saved_model.Builder(str(folder))
        define = v1.saved_model.signature_def_utils
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": define.classification_signature_def(serialized, classes, scores),
                "sum": define.regression_signature_def(serialized, total),
            },
        )
        builder.save()
    return folder


def make_service(
    bases, limits=None, batching=None, policy="latest:1", labels=None, keys=None, poll_seconds=0, log=None
):
    """A service whose models are loaded. `bases` are folders of versions."""
    from zoo.serve.folders import find_models
    from zoo.serve.keys import Keys
    from zoo.serve.manager import Manager, Model
    from zoo.serve.service import Service
    from zoo.serve.settings import Batching, Limits, VersionPolicy

    models = {
        name: Model(name, base, VersionPolicy.parse(policy), labels or {}, batching or Batching())
        for name, base in find_models(bases).items()
    }
    manager = Manager(models, poll_seconds, log or (lambda text: None))
    manager.start()
    return Service(manager, limits or Limits(), Keys(keys or ()))


class Client:
    """Calls an ASGI application without a socket."""

    def __init__(self, service, threads=4):
        from zoo.serve.rest import application

        self.service, self.app = service, application(service, threads)

    def __call__(self, method, path, body=b"", headers=None):
        """The status, the headers and the body."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        sent = {"content-length": str(len(body)), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3", "version": "3.0"},
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in sent.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8501),
            "http_version": "1.1",
        }
        answer = {"status": None, "headers": {}, "body": b""}

        async def run():
            messages, ended = [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event()

            async def receive():
                if messages:
                    return messages.pop()
                await ended.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                if message["type"] == "http.response.start":
                    answer["status"] = message["status"]
                    answer["headers"] = {key.decode(): value.decode() for key, value in message["headers"]}
                else:
                    answer["body"] += message.get("body", b"")
                    if not message.get("more_body"):
                        ended.set()

            await self.app(scope, receive, send)

        asyncio.run(run())
        return answer["status"], answer["headers"], answer["body"]

    def json(self, method, path, body=b"", headers=None):
        """The status and the JSON body."""
        status, _, content = self(method, path, body, headers)
        return status, json.loads(content)


class ServerProcess:
    """A running `zoo serve`: `url` of REST, `grpc` address, `pid`."""

    def __init__(self, process, log):
        self.process, self._log = process, log
        found = None
        ends = time.monotonic() + 120
        while found is None:
            found = re.search(r"(http://\S+)/   gRPC: (\S+)", self.output())
            if process.poll() is not None or time.monotonic() > ends:
                raise AssertionError(f"the server did not start: {self.output()}")
            time.sleep(0.05)
        self.url, self.grpc = found.groups()
        self.port = int(self.url.rpartition(":")[2])

    def output(self):
        """The output so far."""
        return self._log.read_text(encoding="utf-8")

    def stop(self, seconds=60):
        """Sends SIGTERM and returns the exit status."""
        self.process.terminate()
        return self.process.wait(seconds)


@contextlib.contextmanager
def serving(folder, *arguments):
    """Runs `zoo serve` on free ports; its log is in `folder`."""
    log = folder / "serve.log"
    command = [sys.executable, "-c", "from zoo.cli import console; console()", "serve", *map(str, arguments)]
    if "--port" not in arguments:
        command += ["--port", "0"]
    if "--grpc-port" not in arguments:
        command += ["--grpc-port", "0"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
    try:
        yield ServerProcess(process, log)
    finally:
        process.kill()
        process.wait()
