"""The commands `zoo serve` and `zoo serve-config`."""

import argparse
import importlib.util
import os

from zoo.backend import quiet_start
from zoo.errors import UsageError
from zoo.paths import user_path
from zoo.shipped import shipped_folder

DESCRIPTION = "Serves SavedModels with the REST and gRPC protocols of TensorFlow Serving."


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `zoo serve`. Imports no TensorFlow."""
    parser.add_argument(
        "paths", nargs="*", metavar="FOLDER|EXPORT", help="exports, or folders of them (saved_models)", default=[]
    )
    place = parser.add_argument_group("where it listens")
    place.add_argument("--host", default="127.0.0.1", help="address (127.0.0.1)")
    place.add_argument("--port", type=int, default=8501, help="REST and the page; 0: any free one (8501)")
    place.add_argument("--grpc-port", type=int, default=8500, help="gRPC; 0: any free one (8500)")
    place.add_argument("--allow-remote", action="store_true", help="allow a --host that other machines can reach")
    place.add_argument("--api-key-file", metavar="FILE", help="clients must send one of its lines as their key")
    place.add_argument("--drain-seconds", type=float, default=30.0, help="to finish requests after SIGTERM (30)")

    versions = parser.add_argument_group("versions")
    versions.add_argument("--version-policy", default="latest:1", help="latest:N, all or specific:1,2 (latest:1)")
    versions.add_argument(
        "--version-label", action="append", default=[], metavar="[MODEL:]LABEL=N", help="a name for a version"
    )
    versions.add_argument(
        "--poll-seconds", type=float, default=1.0, help="between checks for new versions; 0: no checks (1)"
    )

    batching = parser.add_argument_group("batching of requests that arrive together")
    batching.add_argument("--max-batch-size", type=int, default=1, help="rows; 1: no batching (1)")
    batching.add_argument("--batch-timeout-micros", type=int, default=1000, help="how long a batch waits (1000)")
    batching.add_argument("--max-enqueued-batches", type=int, default=100, help="before requests are refused (100)")
    batching.add_argument("--allowed-batch-sizes", metavar="N,N,…", help="batches are padded to one of these sizes")

    limits = parser.add_argument_group("limits of a request")
    limits.add_argument("--max-body-bytes", type=int, default=32 * 2**20, help="of its body (32 MiB)")
    limits.add_argument("--max-rows", type=int, default=1024, help="in its batch (1024)")
    limits.add_argument("--max-pixels", type=int, default=25_000_000, help="decoded from its images (25,000,000)")
    limits.add_argument("--max-text-bytes", type=int, default=10_000, help="of a text (10,000)")
    limits.add_argument("--max-length", type=int, default=2_000, help="of generated text (2,000)")
    limits.add_argument("--max-concurrent", type=int, default=256, help="requests at a time (256)")
    limits.add_argument("--request-seconds", type=float, default=60.0, help="until it must be answered (60)")


def run(options: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT. Raises `ZooError` and `UsageError`, which the command line prints."""
    _check_installed()
    _check_numbers(options)
    from zoo.serve.addresses import Address, bind, check_host
    from zoo.serve.folders import find_models
    from zoo.serve.keys import Keys
    from zoo.serve.settings import Batching, Limits, VersionPolicy

    check_host(options.host, options.allow_remote)
    policy = VersionPolicy.parse(options.version_policy)
    batching = Batching(
        options.max_batch_size,
        options.batch_timeout_micros,
        options.max_enqueued_batches,
        tuple(_numbers("--allowed-batch-sizes", options.allowed_batch_sizes or "")),
    )
    limits = Limits(
        options.max_body_bytes,
        options.max_rows,
        options.max_pixels,
        options.max_text_bytes,
        options.max_length,
        options.max_concurrent,
        options.request_seconds,
    )
    keys = Keys.read(options.api_key_file) if options.api_key_file else Keys()
    bases = find_models(options.paths or [shipped_folder("saved_models")])
    labels = _labels(options.version_label, list(bases))
    address = Address(options.host, options.port, options.grpc_port)
    bind(address.host, address.port).close()  # checked before TensorFlow is loaded, which takes seconds
    bind(address.host, address.grpc_port, "--grpc-port").close()

    _import_tensorflow()
    from zoo.serve.manager import Manager, Model
    from zoo.serve.server import serve
    from zoo.serve.service import Service

    models = {name: Model(name, base, policy, labels[name], batching, limits.seconds) for name, base in bases.items()}
    service = Service(Manager(models, options.poll_seconds), limits, keys)
    # A thread waits while its row is in a batch: one thread for each row of two batches.
    threads = 2 * (os.cpu_count() or 1) + (2 * batching.max_batch_size if batching.max_batch_size > 1 else 0)
    return serve(service, address, options.drain_seconds, threads)


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of `zoo serve-config`."""
    parser.add_argument("paths", nargs="*", metavar="FOLDER|EXPORT", help="exports, or folders of them (saved_models)")
    parser.add_argument("--output", default="deploy", metavar="FOLDER", help="where to write (deploy)")
    parser.add_argument("--model-base", default="/models", help="their folder on the server (/models)")
    parser.add_argument("--version-policy", default="latest:1", help="latest:N, all or specific:1,2 (latest:1)")
    parser.add_argument(
        "--version-label", action="append", default=[], metavar="[MODEL:]LABEL=N", help="a name for a version"
    )
    parser.add_argument("--max-batch-size", type=int, default=32, help="rows (32)")
    parser.add_argument("--batch-timeout-micros", type=int, default=1000, help="how long a batch waits (1000)")
    parser.add_argument("--max-enqueued-batches", type=int, default=100, help="before requests are refused (100)")


def write_config(options: argparse.Namespace) -> int:
    """Writes models.config, batching.config and monitoring.config for the tensorflow/serving image."""
    from zoo.serve.configs import write
    from zoo.serve.folders import find_models
    from zoo.serve.settings import Batching, VersionPolicy

    bases = find_models(options.paths or [shipped_folder("saved_models")])
    batching = Batching(options.max_batch_size, options.batch_timeout_micros, options.max_enqueued_batches)
    policy, labels = VersionPolicy.parse(options.version_policy), _labels(options.version_label, list(bases))
    for path in write(user_path(options.output), list(bases), options.model_base, policy, labels, batching):
        print(path)
    return 0


def _import_tensorflow() -> None:
    """Imports TensorFlow without start-up messages."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with quiet_start():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.get_logger().setLevel("ERROR")


def _check_installed() -> None:
    for name in ("grpc", "grpc_health", "httptools", "prometheus_client", "starlette", "tensorflow_serving", "uvicorn"):
        try:
            found = importlib.util.find_spec(name)
        except ValueError:
            found = None
        if found is None:
            raise UsageError(f"zoo serve needs {name}: in the zoo's folder, pip install -e '.[serve]'.")


def _check_numbers(options: argparse.Namespace) -> None:
    least = {
        "port": 0,
        "grpc_port": 0,
        "drain_seconds": 0,
        "poll_seconds": 0,
        "batch_timeout_micros": 0,
        "max_enqueued_batches": 1,
        "max_body_bytes": 1,
        "max_rows": 1,
        "max_pixels": 1,
        "max_text_bytes": 1,
        "max_length": 0,
        "max_concurrent": 1,
        "request_seconds": 0.001,
    }
    for name, low in least.items():
        value = getattr(options, name)
        if not low <= value < float("inf") or (name.endswith("port") and value > 65535):
            most = " and at most 65535" if name.endswith("port") else ""
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least {low}{most}.")


def _numbers(flag: str, text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if number]
    except ValueError as error:
        raise UsageError(f"{flag} takes whole numbers separated by commas, not {text!r}.") from error


def _labels(entries: list[str], names: list[str]) -> dict[str, dict[str, int]]:
    """The versions by label, of each model. A label without a model's name is for the only model."""
    labels: dict[str, dict[str, int]] = {name: {} for name in names}
    for entry in entries:
        key, _, version = entry.partition("=")
        name, colon, label = key.rpartition(":")
        name = name if colon else (names[0] if len(names) == 1 else "")
        if not version.isdecimal() or not label or name not in labels:
            raise UsageError(f"--version-label takes MODEL:LABEL=N with one of {', '.join(names)}, not {entry!r}.")
        labels[name][label] = int(version)
    return labels
