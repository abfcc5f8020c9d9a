"""Configuration files of the tensorflow/serving image, in protocol buffers' text format."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from zoo.errors import UsageError, ZooError, reason
from zoo.paths import write_whole
from zoo.serve.settings import Batching, VersionPolicy

HEAD = "# written by `zoo serve-config`\n"

# tensorflow-serving-api has no definition of the messages of these two files, so their text is written here.
MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def models_config(
    names: Sequence[str], base: str, policy: VersionPolicy, labels: Mapping[str, Mapping[str, int]]
) -> model_server_config_pb2.ModelServerConfig:
    """Which models the server loads, from which folder, and which of their versions."""
    config = model_server_config_pb2.ModelServerConfig()
    for name in names:
        model = config.model_config_list.config.add(
            name=name, base_path=f"{base.rstrip('/')}/{name}", model_platform="tensorflow"
        )
        if policy.specific:
            model.model_version_policy.specific.versions.extend(policy.specific)
        elif policy.latest is None:
            model.model_version_policy.all.SetInParent()
        else:
            model.model_version_policy.latest.num_versions = policy.latest
        model.version_labels.update(labels.get(name, {}))
    return config


def batching_config(batching: Batching) -> str:
    """How requests that arrive together are batched."""
    values = {
        "max_batch_size": batching.max_batch_size,
        "batch_timeout_micros": batching.timeout_micros,
        "max_enqueued_batches": batching.max_enqueued_batches,
        "num_batch_threads": batching.num_batch_threads,
    }
    lines = [f"{name} {{ value: {value} }}\n" for name, value in values.items()]
    return "".join(lines) + "".join(f"allowed_batch_sizes: {size}\n" for size in batching.allowed_batch_sizes)


def write(
    folder: Path,
    names: Sequence[str],
    base: str,
    policy: VersionPolicy,
    labels: Mapping[str, Mapping[str, int]],
    batching: Batching,
) -> list[Path]:
    """Writes models.config, batching.config and monitoring.config, each whole or not at all, and returns their paths.

    Raises `UsageError` for a file that was not written by this function, `ZooError` if the folder cannot be written.
    """
    files = {
        "models.config": text_format.MessageToString(models_config(names, base, policy, labels)),
        "batching.config": batching_config(batching),
        "monitoring.config": MONITORING,
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (folder / name for name in files):
            if path.exists() and not path.read_bytes().startswith(HEAD.encode()):
                raise UsageError(f"{path} was not written by `zoo serve-config`; move it, or choose another --output.")
        for name, text in files.items():
            write_whole(folder / name, (HEAD + text).encode())
        return [folder / name for name in files]
    except OSError as error:
        raise ZooError(f"The configuration cannot be written to {folder}: {reason(error)}.") from error
