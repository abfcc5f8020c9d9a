"""Prometheus metrics with TensorFlow Serving's names."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import prometheus_client as prometheus

PREFIX = ":tensorflow:serving:"
MICROSECONDS = tuple(round(10 * 1.8**k, 3) for k in range(33))


class Metrics:
    """The counters of one server."""

    def __init__(self):
        self.registry = prometheus.CollectorRegistry()
        self._count = prometheus.Counter(
            f"{PREFIX}request_count", "The total number of requests.", ("model_name", "status"), registry=self.registry
        )
        self._request = prometheus.Histogram(
            f"{PREFIX}request_latency",
            "Microseconds from the arrival of a request to its response.",
            ("model_name", "API", "entrypoint"),
            buckets=MICROSECONDS,
            registry=self.registry,
        )
        self._runtime = prometheus.Histogram(
            f"{PREFIX}runtime_latency",
            "Microseconds in TensorFlow.",
            ("model_name", "API", "runtime"),
            buckets=MICROSECONDS,
            registry=self.registry,
        )

    def answered(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts one request. `model` must be a served model, because every name creates a time series."""
        self._count.labels(model, status).inc()
        self._request.labels(model, api, entrypoint).observe(seconds * 1e6)

    @contextmanager
    def runtime(self, model: str, api: str) -> Iterator[None]:
        """Measures the duration of the block."""
        start = time.perf_counter()
        yield
        self._runtime.labels(model, api, "TF1").observe((time.perf_counter() - start) * 1e6)

    def text(self) -> bytes:
        """The metrics in Prometheus's text format."""
        text = prometheus.generate_latest(self.registry)
        # The library adds _total to the name of a counter, TensorFlow Serving does not.
        lines = [line for line in text.splitlines(keepends=True) if b"_created" not in line]
        return b"".join(lines).replace(b"request_count_total", b"request_count")
