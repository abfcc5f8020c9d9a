"""`:generate`, an addition to TensorFlow Serving's protocol: a language model's text as server-sent events.

The signature takes `prompt`, `length`, `temperature` and `seed` and returns `text`. It is called repeatedly with the
prompt and the text so far. The pieces together equal the text of one call if the random number of a position depends
only on the seed, the position and the text before it, as in the zoo's exports, and if reading the text again gives the
same characters: two that NFC composes into one are one then.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
from starlette.responses import StreamingResponse

from zoo.serve import json_format
from zoo.serve.errors import RequestError, invalid
from zoo.serve.service import Service
from zoo.serve.signatures import Signature

DEFAULTS = {"prompt": "", "length": 200, "temperature": 0.7, "seed": 0}
FIRST = 16  # characters of the first piece


async def event_stream(
    service: Service,
    pool: ThreadPoolExecutor,
    found: re.Match,
    parse: Callable[[], Mapping[str, Any]],
    deadline: float,
) -> StreamingResponse:
    """The response to a request of `prompt`, `length`, `temperature` and `seed`, which `parse` gives.

    Each event is `data: {"text": …}`, the last `event: end` with the whole text; an error after the first event is
    `event: error`. Raises `RequestError` for an invalid request, and for a model that does not generate text.
    """
    name, loop = found["name"], asyncio.get_running_loop()
    with ExitStack() as opening:
        opening.enter_context(service.counted(name, "Generate", "REST"))
        stack = opening.enter_context(ExitStack())
        stack.enter_context(service.admitted())
        request = await loop.run_in_executor(pool, parse)
        number = int(found["version"]) if found["version"] else None
        version = stack.enter_context(service.manager.model(name).use(number, found["label"]))
        signature = version.servable.signature(json_format.signature_name(request))
        rows = await loop.run_in_executor(pool, _rows, service, name, signature, request)
        length = int(rows["length"][0])

        def continued(text: str, count: int) -> str:
            prompt = np.array([rows["prompt"][0] + text.encode()], object)
            arrays = {**rows, "prompt": prompt, "length": np.array([count], rows["length"].dtype)}
            return service.run(name, version, signature, arrays, deadline, "Generate", ["text"])["text"][0].decode()

        async def piece(text: str) -> str:
            # Later pieces are longer, so that reading the text again costs a constant factor only.
            count = min(length - len(text), max(FIRST, len(text) // 4))
            return await loop.run_in_executor(pool, continued, text, count)

        first = await piece("")  # before the response begins, so that its errors are ordinary error responses
        opened = stack.pop_all()

    async def events() -> AsyncIterator[bytes]:
        text, new = first, first
        try:
            while new:
                yield _event({"text": new})
                if len(text) >= length:
                    break
                new = await piece(text)
                text += new
            yield _event({"text": text}, "end")
        except RequestError as error:
            yield _event({"error": error.message}, "error")

    return EventStream(events(), opened)


def _rows(service: Service, name: str, signature: Signature, request: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of the signature, one row each. Raises `RequestError` for an invalid request or model."""
    if set(signature.inputs) != set(DEFAULTS) or "text" not in signature.outputs:
        raise invalid(f"{name} does not generate text: it needs the inputs {', '.join(DEFAULTS)} and the output text.")
    values = {**DEFAULTS, **{key: value for key, value in request.items() if key != "signature_name"}}
    if set(values) != set(DEFAULTS):
        unknown = sorted(set(values) - set(DEFAULTS))[0]
        raise invalid(f"Unknown key {unknown[:100]!r}; a request has {', '.join(DEFAULTS)}.")
    rows = {key: json_format.to_array(key, [values[key]], signature.inputs[key]) for key in signature.inputs}
    return service.prepare(signature, rows)


class EventStream(StreamingResponse):
    """Server-sent events that release their resources at the end, even if the client disconnects before the first."""

    def __init__(self, events: AsyncIterator[bytes], held: ExitStack):
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        self._held = held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._held:
            await super().__call__(scope, receive, send)


def _event(value: Any, kind: str = "") -> bytes:
    return (f"event: {kind}\n".encode() if kind else b"") + b"data: " + json_format.dumps(value) + b"\n\n"
