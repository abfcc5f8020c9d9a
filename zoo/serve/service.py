"""What REST and gRPC share: limits, running a signature, and metrics."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from zoo.serve.errors import Code, RequestError
from zoo.serve.keys import Keys
from zoo.serve.manager import Manager, Version
from zoo.serve.metrics import Metrics
from zoo.serve.settings import Limits
from zoo.serve.signatures import Signature, check


class Service:
    """The models, the limits and the counters of one server."""

    def __init__(self, manager: Manager, limits: Limits, keys: Keys | None = None):
        self.manager, self.limits, self.keys = manager, limits, keys or Keys()
        self.metrics = Metrics()
        self._running = threading.Semaphore(limits.concurrent)

    def deadline(self, seconds: float | None = None) -> float:
        """The deadline of a request that arrives now, in `time.monotonic`."""
        allowed = self.limits.seconds
        return time.monotonic() + (allowed if seconds is None else min(seconds, allowed))

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Admits a request while the block runs. Raises `RequestError` if too many are in progress."""
        if not self._running.acquire(blocking=False):
            raise RequestError(Code.RESOURCE_EXHAUSTED, f"{self.limits.concurrent} requests are running; try again.")
        try:
            yield
        finally:
            self._running.release()

    @contextmanager
    def counted(self, name: str, api: str, entrypoint: str) -> Iterator[None]:
        """Counts the block as one request with its final status."""
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
        """The arrays of all inputs. Raises `RequestError` if they do not match the signature or the limits."""
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
        """The signature's outputs. Raises `RequestError` for an error of the model and after the deadline."""
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise RequestError(Code.DEADLINE_EXCEEDED, "The request took longer than it may.")
        with self.metrics.runtime(name, api):
            return version.servable.run(signature, arrays, outputs, seconds)
