"""What REST and gRPC share: admission, limits, running a signature, and counting."""

import hmac
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from zoo.errors import ZooError, reason
from zoo.serve.errors import Code, RequestError
from zoo.serve.manager import Manager, Version
from zoo.serve.metrics import Metrics
from zoo.serve.settings import Limits
from zoo.serve.signatures import Signature, check


class Keys:
    """The keys that clients must show; without any, everyone is let in."""

    def __init__(self, keys: Sequence[str] = ()):
        self._keys = [key.encode() for key in keys]

    @classmethod
    def read(cls, path: str) -> "Keys":
        """One key a line. Raises `ZooError` where the file cannot be read or holds none."""
        try:
            keys = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ZooError(f"The API keys cannot be read from {path}: {reason(error)}.") from error
        if not keys:
            raise ZooError(f"{path} holds no API key; write one a line.")
        return cls(keys)

    def check(self, authorization: str | None, key: str | None = None) -> None:
        """`authorization` is `Bearer KEY`; `key` the key alone. Raises `RequestError` where neither is right."""
        if not self._keys:
            return
        scheme, _, token = (authorization or "").partition(" ")
        shown = (token.strip() if scheme.lower() == "bearer" else key or "").encode(errors="replace")
        if not any([hmac.compare_digest(shown, known) for known in self._keys]):  # all of them: no early end
            raise RequestError(Code.UNAUTHENTICATED, "An API key is required: send 'Authorization: Bearer KEY'.")


class Service:
    """The models, the limits and the counters of one server."""

    def __init__(self, manager: Manager, limits: Limits, keys: Keys | None = None):
        self.manager, self.limits, self.keys = manager, limits, keys or Keys()
        self.metrics = Metrics()
        self._running = threading.Semaphore(limits.concurrent)

    def deadline(self, seconds: float | None = None) -> float:
        """When a request that arrives now must be answered, by `time.monotonic`."""
        allowed = self.limits.seconds
        return time.monotonic() + (allowed if seconds is None else min(seconds, allowed))

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One of the requests that may be answered at a time. Raises `RequestError` where there are too many."""
        if not self._running.acquire(blocking=False):
            raise RequestError(Code.RESOURCE_EXHAUSTED, f"{self.limits.concurrent} requests are running; try again.")
        try:
            yield
        finally:
            self._running.release()

    @contextmanager
    def counted(self, name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts the block as one request, with the status that it ends in."""
        start, status = time.perf_counter(), "OK"
        try:
            yield
        except RequestError as error:
            status = error.code.name
            raise
        except Exception:
            status = Code.INTERNAL.name
            raise
        finally:
            if name in self.manager.models:
                self.metrics.answered(name, api, entrypoint, status, time.perf_counter() - start)

    def prepare(self, signature: Signature, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of all inputs. Raises `RequestError` where they do not fit the signature or the limits."""
        arrays = signature.complete(arrays)
        check(signature, arrays, self.limits)
        return arrays

    def run(
        self,
        name: str,
        version: Version,
        signature: Signature,
        arrays: Mapping[str, np.ndarray],
        deadline: float,
        api: str = "Predict",
        outputs: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """The signature's outputs. Raises `RequestError` where the model refuses, and past the deadline."""
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise RequestError(Code.DEADLINE_EXCEEDED, "The request took longer than it may.")
        with self.metrics.runtime(name, api):
            return version.servable.run(signature, arrays, outputs, seconds)
