"""Settings of the server: limits on requests, batching, and the versions to serve."""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """The limits of one request.

    `pixels` limits the decoded size of all encoded images of a request. The texts of a request are padded to the
    longest, so rows × (longest text + length to generate) may be `PADDED_TEXTS` times `text_bytes`.
    """

    body_bytes: int = 32 * 2**20
    rows: int = 1024
    pixels: int = 25_000_000
    text_bytes: int = 10_000
    length: int = 2_000
    concurrent: int = 256
    seconds: float = 60.0


PADDED_TEXTS = 20
ASPECT = 100  # the longer side of an image over the shorter: a graph may resize by the shorter


@dataclass(frozen=True)
class Batching:
    """Arguments of TensorFlow's batching kernel; with a `max_batch_size` of 1, requests run alone."""

    max_batch_size: int = 1
    timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    num_batch_threads: int = 2

    def __post_init__(self):
        sizes = self.allowed_batch_sizes
        if self.max_batch_size < 1:
            raise UsageError(f"--max-batch-size must be 1 or more, not {self.max_batch_size}.")
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise UsageError(
                f"--allowed-batch-sizes must increase and end in --max-batch-size {self.max_batch_size}, "
                f"not {','.join(map(str, sizes))}."
            )


@dataclass(frozen=True)
class VersionPolicy:
    """The versions to serve: the newest `latest`, those in `specific`, or all."""

    latest: int | None = 1
    specific: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "VersionPolicy":
        """`latest:N`, `all` or `specific:1,2`. Raises `UsageError` for anything else."""
        kind, _, value = text.partition(":")
        try:
            if text == "all":
                return cls(None)
            if kind == "latest" and (count := int(value or 1)) > 0:
                return cls(count)
            if kind == "specific":
                return cls(None, tuple(sorted({int(number) for number in value.split(",")})))
        except ValueError:
            pass
        raise UsageError(f"--version-policy is {text!r}; it must be latest:N, all or specific:1,2.")

    def choose(self, versions: Sequence[int]) -> list[int]:
        """The versions to serve of those that exist, in increasing order."""
        versions = sorted(versions)
        if self.specific:
            return [version for version in versions if version in self.specific]
        return versions if self.latest is None else versions[-self.latest :]
