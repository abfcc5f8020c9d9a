"""Error responses, and the part of TensorFlow's messages that a client may see."""

import re
from enum import Enum
from typing import Any


class Code(Enum):
    """gRPC's status codes that the server uses: the number, and the HTTP status that TensorFlow Serving gives it."""

    CANCELLED = (1, 500)
    UNKNOWN = (2, 500)
    INVALID_ARGUMENT = (3, 400)
    DEADLINE_EXCEEDED = (4, 504)
    NOT_FOUND = (5, 404)
    ALREADY_EXISTS = (6, 409)
    PERMISSION_DENIED = (7, 403)
    RESOURCE_EXHAUSTED = (8, 429)
    FAILED_PRECONDITION = (9, 400)
    ABORTED = (10, 409)
    OUT_OF_RANGE = (11, 400)
    UNIMPLEMENTED = (12, 501)
    INTERNAL = (13, 500)
    UNAVAILABLE = (14, 503)
    DATA_LOSS = (15, 500)
    UNAUTHENTICATED = (16, 401)

    @property
    def number(self) -> int:
        return self.value[0]

    @property
    def http(self) -> int:
        return self.value[1]


class RequestError(Exception):
    """A request that cannot be answered. `http` replaces the status that follows from the code."""

    def __init__(self, code: Code, message: str, http: int | None = None):
        super().__init__(message)
        self.code, self.message = code, message
        self.http = http or code.http


def invalid(message: str) -> RequestError:
    """The request is invalid."""
    return RequestError(Code.INVALID_ARGUMENT, message)


def from_tensorflow(error: Any) -> RequestError:
    """The error response for a `tf.errors.OpError` of the graph."""
    code = next((code for code in Code if code.number == error.error_code), Code.UNKNOWN)
    if code is Code.DEADLINE_EXCEEDED:
        return RequestError(code, "The request took longer than it may.")
    return RequestError(code, public_message(error.message))


# What TensorFlow adds to the actual message.
NOISE = re.compile(r"Graph execution error|Detected at node|<stack traces|^\s*File |^\s*\[\[|root error\(s\) found")
PATHS = re.compile(r"(?:[A-Za-z]:)?(?:[/\\][\w.+@~-]+){2,}[/\\]?")


def public_message(text: str) -> str:
    """The actual message of an error, without stack traces, graph nodes and paths of this machine."""
    lines = [line for line in text.splitlines() if line.strip() and not NOISE.search(line)]
    line = re.sub(r"\{\{.*?\}\}|\[Op:.*|\[\[.*|^\s*\(\d+\)\s*[A-Z_]+:\s*", "", lines[0] if lines else "").strip()
    return PATHS.sub("…", line)[:300] or "The model could not answer."
