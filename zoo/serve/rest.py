"""TensorFlow Serving's REST interface as an ASGI application."""

import asyncio
import re
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.protobuf import json_format as protobuf_json
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tensorflow_serving.apis import get_model_metadata_pb2

from zoo.serve import examples, json_format
from zoo.serve.bodies import Bodies
from zoo.serve.errors import Code, RequestError
from zoo.serve.generate import event_stream
from zoo.serve.page import page_routes
from zoo.serve.service import Service

MODEL = r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d{1,18})|/labels/(?P<label>[^/:]+))?"
RUN = re.compile(MODEL + r":(?P<verb>predict|classify|regress|generate)", re.IGNORECASE)
READ = re.compile(MODEL + r"(?:/(?P<what>metadata))?", re.IGNORECASE)


def application(service: Service, threads: int) -> Starlette:
    """The ASGI application of `service`, which runs models in `threads` threads."""
    return Rest(service, threads).application()


class Rest:
    """The routes of one server."""

    def __init__(self, service: Service, threads: int):
        self.service = service
        self.bodies = Bodies(service.limits)
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    def application(self) -> Starlette:
        routes = [
            Route("/healthz", self._healthz),
            Route("/monitoring/prometheus/metrics", self._guarded(self._metrics)),
            *page_routes(self.service, self._guarded),
        ]
        app = Starlette(routes=routes)
        guarded = self._guarded(self._models)

        async def route(scope: dict, receive: Callable, send: Callable) -> None:
            # Every method and path below /v1/ has one handler, as in TensorFlow Serving: it has no 404 or 405 there.
            if scope["type"] == "http" and scope["path"].lower().startswith("/v1/"):
                response = await guarded(Request(scope, receive))
                await response(scope, receive, send)
            else:
                await app(scope, receive, send)

        return route

    def _guarded(self, handler: Callable) -> Callable:
        """A handler that requires an API key and whose errors become TensorFlow Serving's JSON."""

        async def handle(request: Request) -> Response:
            try:
                self.service.keys.check(request.headers.get("authorization"), request.headers.get("x-api-key"))
                return await handler(request)
            except RequestError as error:
                return _json(json_format.error_body(error), error.http)
            except Exception:
                traceback.print_exc(file=sys.stderr)
                return _json(b'{"error":"Internal error"}', 500)

        return handle

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _metrics(self, request: Request) -> Response:
        return Response(self.service.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _models(self, request: Request) -> Response:
        path, method = request.url.path, request.method
        if method == "POST" and (found := RUN.fullmatch(path)):
            return await self._run(request, found)
        if method == "GET" and (found := READ.fullmatch(path)):
            model = self.service.manager.model(found["name"])
            which = (int(found["version"]) if found["version"] else None, found["label"])
            if not found["what"]:
                return _json(json_format.dumps(_to_dict(model.statuses(*which))))
            with model.use(*which) as version:
                return _json(json_format.dumps(metadata(model.name, version)))
        raise RequestError(Code.INVALID_ARGUMENT, f"Malformed request: {method} {path[:200]}")

    async def _run(self, request: Request, found: re.Match) -> Response:
        service, name, verb = self.service, found["name"], found["verb"].lower()
        deadline = service.deadline()
        body = await self.bodies.read(request)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if verb == "generate":
            parse = lambda: json_format.parse(self.bodies.decompress(body, encoding))  # noqa: E731
            return await event_stream(service, self.pool, found, parse, deadline)
        loop = asyncio.get_running_loop()
        with service.counted(name, verb.capitalize(), "REST"), service.admitted():
            try:
                async with asyncio.timeout_at(loop.time() + deadline - time.monotonic() + 1):
                    return _json(
                        await loop.run_in_executor(self.pool, self._answer, found, verb, body, encoding, deadline)
                    )
            except TimeoutError as error:
                raise RequestError(Code.DEADLINE_EXCEEDED, "The request took longer than it may.") from error

    def _answer(self, found: re.Match, verb: str, body: bytes, encoding: str, deadline: float) -> bytes:
        service, name = self.service, found["name"]
        request = json_format.parse(self.bodies.decompress(body, encoding))
        number = int(found["version"]) if found["version"] else None
        with service.manager.model(name).use(number, found["label"]) as version:
            signature = version.servable.signature(json_format.signature_name(request))
            if verb == "predict":
                arrays, by_rows = json_format.decode(request, signature)
            else:
                examples.check_method(signature, verb)
                arrays = {next(iter(signature.inputs)): examples.decode(request)}
            arrays = service.prepare(signature, arrays)
            outputs = service.run(name, version, signature, arrays, deadline, verb.capitalize())
            if verb == "predict":
                return json_format.encode(outputs, by_rows)
            return json_format.dumps({"results": examples.results(verb, outputs)})


def metadata(name: str, version: Any) -> dict:
    """A version's signatures in TensorFlow Serving's JSON, which has `signature_def` twice."""
    signatures = get_model_metadata_pb2.SignatureDefMap(signature_def=dict(version.servable.signature_defs))
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version.number)},
        "metadata": {"signature_def": _to_dict(signatures)},
    }


def _to_dict(message: Any) -> dict:
    return protobuf_json.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json(content: bytes, status: int = 200) -> Response:
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (408, 413):  # without waiting for the rest of the body
        headers["Connection"] = "close"
    return Response(content, status, headers, media_type="application/json")
