"""The choice of a distribution strategy, and the devices of this machine."""

import contextlib
import hashlib
import json
import os
import platform
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import tensorflow as tf

from zoo.distribute.cluster import Cluster, find_workers, runs_under_slurm
from zoo.distribute.peers import PeerMonitor, limited, wait_for_workers
from zoo.distribute.sharding import row_bounds
from zoo.errors import UsageError, ZooError, reason
from zoo.fields import check_fields

Strategy = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]


@dataclass(frozen=True)
class Devices:
    """Where to run. None of it affects the results.

    Raises `UsageError` for an unknown name or an invalid value.
    """

    strategy: Strategy = "auto"
    """one_device; mirrored: all GPUs of this machine; multi_worker: the machines of a cluster; tpu; auto: a TPU if one
    is named, else the cluster if there is one, else all GPUs if there are several."""
    cluster: Cluster | None = None
    """Source of the workers' addresses; by default the environment variable TF_CONFIG, or Slurm's variables."""
    tpu: str | None = None
    """Name of the TPU, or "local"; by default the value of TPU_NAME."""
    logical_devices: int | None = None
    """Split the GPU or CPU into this number of logical devices, to test several devices on one."""
    connect_timeout: float = 300.0
    """Seconds to wait for all workers to start."""
    slurm_port: int = 8888
    """Under Slurm: the port of a node's first task; the next tasks use the ports above it."""

    def __post_init__(self) -> None:
        check_fields("devices", self)
        if self.logical_devices is not None and self.logical_devices < 1:
            raise UsageError(f"logical_devices is {self.logical_devices}; it must be at least 1.")
        if self.connect_timeout <= 0:
            raise UsageError(f"connect_timeout is {self.connect_timeout}; it must be positive.")
        if not 0 < self.slurm_port < 2**16:
            raise UsageError(f"slurm_port is {self.slurm_port}; it must be a port number.")


@dataclass
class Placement:
    """The strategy of a run, its kind, why it was chosen, and this process's part in it."""

    strategy: tf.distribute.Strategy
    kind: Strategy
    why: str
    worker: int = 0
    workers: tuple[str, ...] = ()
    monitor: PeerMonitor | None = field(default=None, repr=False)

    @property
    def chief(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        return self.strategy.num_replicas_in_sync

    @property
    def multi_worker(self) -> bool:
        return len(self.workers) > 1

    @property
    def summary(self) -> str:
        """The kind and the number of replicas, such as "mirrored × 2"."""
        return f"{self.kind} × {self.replicas}" if self.replicas > 1 else self.kind

    def broadcast_from_chief(self, number: int) -> int:
        """The chief's number, in every worker. A collective operation: all workers must call it."""
        return self._chiefs([number])[0] if self.multi_worker else number

    def _chiefs(self, numbers: Sequence[int]) -> list[int]:
        own = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(numbers, tf.int64) * (context.replica_id_in_sync_group == 0)
        )
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None).numpy().tolist()

    def check_agreement(self, values: Mapping[str, Any]) -> None:
        """Raises `UsageError` in a worker where one of `values`, by name, is another than the chief's.

        They are compared by a hash of their JSON. A collective operation: all workers must call it.
        """
        if not self.multi_worker:
            return
        names = sorted(values)
        wrong = "the kind of recipe"
        if self.broadcast_from_chief(_digest(names)) == _digest(names):  # else they cannot be compared one by one
            own = [_digest(values[name]) for name in names]
            pairs = zip(names, own, self._chiefs(own), strict=True)
            wrong = next((name for name, here, there in pairs if here != there), "")
        if wrong:
            here = f", here {values[wrong]!r}" if isinstance(values.get(wrong), (bool, int, float, str)) else ""
            raise UsageError(
                f"{wrong} differs from that of worker 0{here}. Run the same command, with the same data and packages, "
                "on all workers."
            )

    def broadcast_flag(self, flag: bool) -> bool:
        """The chief's flag, in every worker. A collective operation: all workers must call it."""
        return bool(self.broadcast_from_chief(flag))

    def wait_for_all(self) -> None:
        """Returns when every worker has called it."""
        self.broadcast_flag(True)

    def share_of(self, batch_size: int) -> str:
        """The number of examples of each replica, for the log."""
        bounds = [row_bounds(replica, batch_size, self.replicas) for replica in range(self.replicas)]
        shares = [stop - start for start, stop in bounds]
        if len(set(shares)) == 1:
            return f"{self.replicas} replicas, {shares[0]:,} examples of each batch of {batch_size:,} on each"
        return f"{self.replicas} replicas, {', '.join(map(str, shares))} examples of each batch of {batch_size:,}"

    def rows_of(self, batch_size: int) -> range:
        """The rows of a batch that this worker's replicas process."""
        return range(*row_bounds(self.worker, batch_size, len(self.workers) or 1))

    def done(self) -> None:
        """Call at the end of a run: waits for the other workers, then stops monitoring them."""
        if self.monitor:
            self.wait_for_all()
            self.monitor.stop()


def _digest(value: Any) -> int:
    text = json.dumps(value, sort_keys=True, default=str)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:7], "big")


def choose_strategy(devices: Devices) -> Placement:
    """The strategy that `devices` names, or by default the one for the devices that are available.

    Raises `UsageError` if it is not available, `ZooError` if the workers or the TPU do not respond.
    """
    if devices.logical_devices:
        _split(devices.logical_devices)
    kind, why = devices.strategy, "as asked"
    if kind == "auto":
        kind, why = _automatic(devices)
    if kind == "tpu":
        return _tpu(devices, why)
    if kind == "multi_worker":
        return _multi_worker(devices, why)
    if kind == "mirrored":
        return _mirrored(why)
    return Placement(tf.distribute.get_strategy(), "one_device", f"one device: {why}")


def _split(count: int) -> None:
    physical = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(physical[0], [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        if len(_devices()) != count:
            raise UsageError(
                "The device is already in use; it can only be split before anything has run on it."
            ) from error


def _devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _automatic(devices: Devices) -> tuple[str, str]:
    if devices.tpu or os.environ.get("TPU_NAME"):
        return "tpu", "a TPU is named"
    if devices.cluster:
        return "multi_worker", f"cluster is {devices.cluster}"
    if os.environ.get("TF_CONFIG"):
        return "multi_worker", "TF_CONFIG is set"
    if runs_under_slurm():
        return "multi_worker", "Slurm runs several tasks"
    if len(_devices()) > 1:
        return "mirrored", f"{len(_devices())} devices are available"
    return "one_device", "only one is available"


# Two strategies over the same devices in one process would use the same message numbers.
_strategies: dict[tuple[str, ...], tf.distribute.Strategy] = {}


def _mirrored(why: str) -> Placement:
    names = tuple(_devices())
    if len(names) < 2:
        kind = names[0].rpartition("device:")[2]
        raise UsageError(
            f"mirrored needs at least two devices, and this machine has one, {kind}. Leave out --strategy, or split it "
            "with --logical-devices 2 for a test."
        )
    if names not in _strategies:
        _strategies[names] = tf.distribute.MirroredStrategy(names)
    return Placement(_strategies[names], "mirrored", f"mirrored over {len(names)} devices: {why}")


def _tpu(devices: Devices, why: str) -> Placement:
    name = devices.tpu or os.environ.get("TPU_NAME") or "local"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        strategy = tf.distribute.TPUStrategy(resolver)
    except Exception as error:  # the resolver, its libraries and the network raise many kinds
        raise ZooError(
            f"The TPU {name!r} does not respond ({reason(error)}). On a TPU machine install tensorflow-tpu and use "
            "--tpu local; elsewhere leave out --strategy and --tpu."
        ) from error
    return Placement(strategy, "tpu", f"TPU {name}, {strategy.num_replicas_in_sync} cores: {why}")


def _multi_worker(devices: Devices, why: str) -> Placement:
    resolver, workers, worker = find_workers(devices.cluster, devices.slurm_port)
    if len(workers) == 1:
        return Placement(tf.distribute.get_strategy(), "one_device", "one device: the cluster has one worker")
    if workers not in _strategies:
        wait_for_workers(workers, worker, devices.connect_timeout)
    monitor = PeerMonitor({f"worker {i}": address for i, address in enumerate(workers) if i != worker})
    monitor.start()
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
    )
    try:
        if workers not in _strategies:
            with limited(devices.connect_timeout), _own_handler(signal.SIGTERM):
                _strategies[workers] = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except Exception as error:
        monitor.raise_if_lost(error)
    strategy = _strategies[workers]
    placement = Placement(
        strategy,
        "multi_worker",
        f"worker {worker} of {len(workers)}, {strategy.num_replicas_in_sync} devices in all: {why}",
        worker,
        workers,
        monitor,
    )
    placement.wait_for_all()
    return placement


@contextlib.contextmanager
def _own_handler(number: signal.Signals) -> Iterator[None]:
    """Keeps the process's own handler of a signal, which TensorFlow replaces by one that only takes notice of it."""
    before = signal.getsignal(number)
    yield
    if threading.current_thread() is threading.main_thread():  # Python sets handlers there only
        signal.signal(number, signal.SIG_DFL if before is None else before)


def hardware() -> str:
    """The devices, such as "2 CPU cores (Intel Xeon …)" or "1 GPU (NVIDIA …)"."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
        return f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({name})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s' if cores != 1 else ''} ({_processor()})"


def computes_in_bfloat16() -> bool:
    """Whether the devices have instructions for bfloat16: every GPU, or the CPU where there is none."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        return all(each.get("compute_capability", (0, 0)) >= (8, 0) for each in details)
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu_info("flags").split())


def _processor() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(key: str) -> str:
    """What Linux says of the first processor; empty on other systems."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")
    except OSError:
        return ""
