"""Where a recipe runs: one device, several, several machines, a TPU; and whether XLA compiles its train step."""

import json
import os
import platform
import shutil
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import tensorflow as tf

from zoo.errors import UsageError, ZooError, nearest, reason
from zoo.recipe import Recipe
from zoo.trainer import share

Strategy = Literal["auto", "one_device", "mirrored", "multi_worker", "tpu"]
Cluster = Literal["tf_config", "slurm", "kubernetes", "gce"]
PROBE_SECONDS = 2.0  # between two looks at the other workers
PROBES_MISSED = 5  # before one that was there counts as lost
SLURM_PORT = 8888  # of a node's first task; the next have those above it


@dataclass(frozen=True)
class Devices:
    """What a run is told about where to run; nothing of it decides what comes out.

    Raises `UsageError` for names that do not exist and numbers that cannot be.
    """

    strategy: Strategy = "auto"
    """one_device; mirrored: all GPUs of this machine; multi_worker: the machines of a cluster; tpu; auto: a TPU if one
    is named, else a cluster if there is one, else all GPUs if there are several."""
    cluster: Cluster | None = None
    """Who knows the workers' addresses; by default the environment variable TF_CONFIG, or Slurm's."""
    tpu: str | None = None
    """The TPU's name, or "local"; by default that in TPU_NAME."""
    logical_devices: int | None = None
    """Split the GPU or CPU into so many, to rehearse."""
    connect_timeout: float = 300.0
    """Seconds to wait for all workers to be there."""

    def __post_init__(self) -> None:
        for key, kinds in (("strategy", Strategy), ("cluster", Cluster)):
            value, known = getattr(self, key), get_args(kinds)
            if value is not None and value not in known:
                raise UsageError(f"There is no {key} {value!r}. {nearest(str(value), known)}")
        if self.logical_devices is not None and self.logical_devices < 1:
            raise UsageError(f"logical_devices is {self.logical_devices}; it must be at least 1.")
        if self.connect_timeout <= 0:
            raise UsageError(f"connect_timeout is {self.connect_timeout}; it must be positive.")


@dataclass
class Placement:
    """Where a run runs: the strategy, its kind, why it was chosen, and this process's part in it."""

    strategy: tf.distribute.Strategy
    kind: Strategy
    why: str
    worker: int = 0
    workers: tuple[str, ...] = ()
    watch: "Watch | None" = field(default=None, repr=False)

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

    def of_chief(self, number: int) -> int:
        """The chief's number, in every worker. All must ask at the same moment."""
        if not self.multi_worker:
            return number
        own = self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(number if context.replica_id_in_sync_group == 0 else 0, tf.int64)
        )
        return int(self.strategy.reduce(tf.distribute.ReduceOp.SUM, own, axis=None))

    def agreed(self, flag: bool) -> bool:
        """The chief's flag, in every worker. All must ask at the same moment."""
        return bool(self.of_chief(flag))

    def wait_for_all(self) -> None:
        """Goes on when every worker is here."""
        self.agreed(True)

    def share_of(self, batch_size: int) -> str:
        """What each replica gets of a batch, in words."""
        bounds = [share(replica, batch_size, self.replicas) for replica in range(self.replicas)]
        shares = [stop - start for start, stop in bounds]
        if len(set(shares)) == 1:
            return f"{self.replicas} replicas, {shares[0]:,} examples of each batch of {batch_size:,} on each"
        return f"{self.replicas} replicas, {', '.join(map(str, shares))} examples of each batch of {batch_size:,}"

    def rows_of(self, batch_size: int) -> range:
        """The rows of a batch that this worker's replicas get."""
        return range(*share(self.worker, batch_size, len(self.workers) or 1))

    def done(self) -> None:
        """To be called at the end, when the other workers may go."""
        if self.watch:
            self.wait_for_all()
            self.watch.stop()


def placed(devices: Devices) -> Placement:
    """The strategy for what there is, or for what was asked.

    Raises `UsageError` where it cannot be had, `ZooError` where the workers or the TPU do not answer.
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
                "The device is in use already; it can only be split before anything runs on it."
            ) from error


def _devices() -> list[str]:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def _automatic(devices: Devices) -> tuple[str, str]:
    if devices.tpu or os.environ.get("TPU_NAME"):
        return "tpu", "a TPU is named"
    if devices.cluster:
        return "multi_worker", f"the cluster is {devices.cluster}'s"
    if os.environ.get("TF_CONFIG"):
        return "multi_worker", "TF_CONFIG is set"
    if _slurm():
        return "multi_worker", "Slurm runs several tasks"
    if len(_devices()) > 1:
        return "mirrored", f"there are {len(_devices())} devices"
    return "one_device", "there is one"


# Two strategies over the same devices in one process number their messages alike, and mix them up.
_strategies: dict[tuple[str, ...], tf.distribute.Strategy] = {}


def _mirrored(why: str) -> Placement:
    names = tuple(_devices())
    if len(names) < 2:
        kind = names[0].rpartition("device:")[2]
        raise UsageError(
            f"mirrored needs two devices or more, and there is one here, {kind}. Leave --strategy out, or split it "
            "with --logical-devices 2 to rehearse."
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
    except Exception as error:  # whatever the resolver, its libraries or the network raise, there is none
        raise ZooError(
            f"There is no TPU {name!r} that answers ({reason(error)}). On a TPU machine install tensorflow-tpu and "
            "give --tpu local; elsewhere leave --strategy and --tpu out."
        ) from error
    return Placement(strategy, "tpu", f"TPU {name}, {strategy.num_replicas_in_sync} cores: {why}")


def _multi_worker(devices: Devices, why: str) -> Placement:
    resolver, workers, worker = _cluster(devices)
    if len(workers) == 1:
        return Placement(tf.distribute.get_strategy(), "one_device", "one device: the cluster has one worker")
    if workers not in _strategies:
        meet(workers, worker, devices.connect_timeout)
    watch = Watch({f"worker {i}": address for i, address in enumerate(workers) if i != worker})
    watch.start()
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
    )
    try:
        if workers not in _strategies:
            _strategies[workers] = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except Exception as error:
        watch.blame(error)
    strategy = _strategies[workers]
    placement = Placement(
        strategy,
        "multi_worker",
        f"worker {worker} of {len(workers)}, {strategy.num_replicas_in_sync} devices in all: {why}",
        worker,
        workers,
        watch,
    )
    placement.wait_for_all()
    return placement


def _cluster(devices: Devices) -> tuple[Any, tuple[str, ...], int]:
    """TensorFlow's resolver, the addresses of all workers (the chief first) and this process's place among them."""
    resolvers = tf.distribute.cluster_resolver
    kind = devices.cluster or ("slurm" if not os.environ.get("TF_CONFIG") and _slurm() else "tf_config")
    if kind == "tf_config":
        workers, worker = tf_config(os.environ.get("TF_CONFIG"))
        return resolvers.TFConfigClusterResolver(), workers, worker
    try:
        if kind == "slurm":
            workers, worker = _slurm_tasks()
            resolver = resolvers.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": workers}),
                task_type="worker",
                task_id=worker,
                num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},  # those that Slurm lets it see
                rpc_layer="grpc",
            )
            return resolver, workers, worker
        if kind == "kubernetes":
            resolver = resolvers.KubernetesClusterResolver()
        else:
            wanted = {key: os.environ[f"GCE_{key.upper()}"] for key in ("project", "zone", "instance_group")}
            resolver = resolvers.GCEClusterResolver(**wanted, port=int(os.environ.get("GCE_PORT", "8470")))
        spec = resolver.cluster_spec().as_dict()
        addresses = tuple(address for job in ("chief", "worker") for address in spec.get(job, []))
        resolver.task_type, resolver.task_id = "worker", _own_place(addresses)
        return resolver, addresses, resolver.task_id
    except Exception as error:  # a library that is missing, a variable, a server that does not answer
        raise UsageError(
            f"The cluster's {kind} resolver finds no workers ({type(error).__name__}: {reason(error)}). Set TF_CONFIG, "
            "or start this where the cluster sets its variables."
        ) from error


def _own_place(workers: Sequence[str]) -> int:
    """Which of the workers this machine is: the resolvers of Kubernetes and of Google's machines do not say."""
    own = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None)}
    places = [place for place, worker in enumerate(workers) if worker.rpartition(":")[0] in own]
    if len(places) != 1:
        raise LookupError(f"{' and '.join(sorted(own))}, this machine, is not one of {', '.join(workers) or 'none'}")
    return places[0]


def _slurm() -> bool:
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _slurm_tasks() -> tuple[tuple[str, ...], int]:
    """The addresses of a job step's tasks, in the order of their ranks, and this task's rank.

    TensorFlow's own resolver asks for GPUs where there are none, deals out anew those that Slurm has dealt, and sorts
    the nodes by name, n10 before n9, where ranks follow Slurm's list.
    """
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

    nodes = slurm.expand_hostlist(os.environ["SLURM_STEP_NODELIST"])
    counts = slurm.expand_tasks_per_node(os.environ["SLURM_STEP_TASKS_PER_NODE"])
    tasks = [(node, number) for node, count in zip(nodes, counts, strict=True) for number in range(count)]
    return tuple(f"{node}:{SLURM_PORT + number}" for node, number in tasks), int(os.environ["SLURM_PROCID"])


def tf_config(text: str | None) -> tuple[tuple[str, ...], int]:
    """The workers' addresses, the chief's first, and this process's place among them, as TF_CONFIG has them.

    Raises `UsageError` that says what is wrong with it.
    """
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    if not text:
        raise UsageError(
            f"multi_worker needs the workers' addresses, and TF_CONFIG is not set. It is like {example}; "
            "`zoo launch --workers 2 -- train NAME` sets it for processes on this machine."
        )
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"TF_CONFIG is not JSON ({error}). It is like {example}.") from error
    try:
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        own = cluster[kind][index]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else "has no worker of the task's type and index"
        raise UsageError(f"TF_CONFIG {what}. It is like {example}.") from error
    workers = tuple(address for job in ("chief", "worker") for address in cluster.get(job, []))
    for address in workers:
        if not address.rpartition(":")[2].isdigit():
            raise UsageError(f"TF_CONFIG: {address!r} is no address of a host and a port, such as host0:2222.")
    return workers, workers.index(own)


def meet(workers: Sequence[str], worker: int, timeout: float) -> None:
    """Goes on when all workers are there: each listens at its own address until it has reached the others.

    TensorFlow waits for them, too, but without end, and nothing else of the process runs meanwhile. Raises `UsageError`
    where this worker's port is taken, `ZooError` that names the workers that do not come.
    """
    port, deadline = int(workers[worker].rpartition(":")[2]), time.monotonic() + timeout
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", port))
        except OSError as error:
            raise UsageError(
                f"This worker's address is {workers[worker]}, but port {port} cannot be had here ({reason(error)}). "
                "Give it another, in every worker's TF_CONFIG; under Slurm, wait for the job that has it."
            ) from error
        own.listen(len(workers))
        absent = [i for i in range(len(workers)) if i != worker]
        while absent := [i for i in absent if not _answers(workers[i])]:
            if time.monotonic() > deadline:
                named = ", ".join(f"worker {i} ({workers[i]})" for i in absent)
                raise ZooError(
                    f"After {timeout:g} seconds there is no answer from {named}. Is it started, with the same list of "
                    "workers in the same order, and can its port be reached from here?"
                )
            time.sleep(0.2)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


class Watch(threading.Thread):
    """Looks after the other workers, and ends this process where one is lost.

    TensorFlow itself waits for a lost worker without end, in a call that nothing interrupts.
    """

    def __init__(self, peers: Mapping[str, str]):
        super().__init__(name="watch", daemon=True)
        self.peers, self.missed = dict(peers), dict.fromkeys(peers, 0)
        self.stopped = threading.Event()
        self.scratch: Path | None = None  # this process's own files, to be removed with it

    def run(self) -> None:
        while not self.stopped.wait(PROBE_SECONDS):
            lost = [name for name, missed in self.look().items() if missed >= PROBES_MISSED]
            if lost and not self.stopped.is_set():
                print(f"error: {self.told_of(lost)}", file=sys.stderr, flush=True)
                if self.scratch:
                    shutil.rmtree(self.scratch, ignore_errors=True)
                os._exit(1)  # the main thread may be in a call that never returns

    def look(self) -> dict[str, int]:
        """How many times in a row each worker has not answered, now included."""
        for name, address in self.peers.items():
            self.missed[name] = 0 if _answers(address) else self.missed[name] + 1
        return self.missed

    def told_of(self, lost: list[str]) -> str:
        """What is said when workers are lost."""
        named = ", ".join(f"{name} ({self.peers[name]})" for name in lost)
        return f"{named} was lost. The same command, started again on all workers, goes on from the last checkpoint."

    def blame(self, error: BaseException) -> NoReturn:
        """Raises `ZooError` that names the workers that do not answer, after an error in a call to all of them."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            lost = [name for name, missed in self.look().items() if missed]
            if lost:
                raise ZooError(self.told_of(lost)) from error
            time.sleep(PROBE_SECONDS / 2)
        raise ZooError(f"The workers cannot go on together: {reason(error)}.") from error

    def stop(self) -> None:
        """Lets the others go."""
        self.stopped.set()


def dealt(batches: tf.data.Dataset, placement: Placement, batch_size: int | None = None) -> Any:
    """Batches dealt to the replicas: of each, replica r of R gets rows r·B/R to (r + 1)·B/R − 1.

    With a `batch_size` B, `batches` has this worker's rows of them, `placement.rows_of(B)`. Without, it has all rows of
    batches of any size, in each worker the same, and each replica gets equally many: the first row again, with weight
    zero. On one device, the batches themselves.
    """
    count = placement.replicas
    if count == 1:
        return batches
    begin = placement.rows_of(batch_size).start if batch_size else 0  # the first row that `batches` has

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = count // context.num_input_pipelines
        first = context.input_pipeline_id * own
        parts = own if batch_size else count  # of what `batches` has

        def pieces(*batch: Any) -> tf.data.Dataset:
            batch = batch if batch_size else _padded(batch, count)
            rows = tf.constant(batch_size, tf.int64) if batch_size else tf.shape(batch[-1], tf.int64)[0]

            def piece(replica: tf.Tensor) -> Any:
                start, stop = share(replica, rows, count)

                def cut(value: tf.Tensor) -> tf.Tensor:
                    size = value.shape[0] // parts if value.shape[0] and value.shape[0] % parts == 0 else None
                    return tf.ensure_shape(value[start - begin : stop - begin], (size, *value.shape[1:]))

                return tf.nest.map_structure(cut, batch)

            return tf.data.Dataset.range(first, first + own).map(piece)

        return batches.flat_map(pieces).prefetch(2 * own)

    return placement.strategy.distribute_datasets_from_function(of_worker)


def _padded(batch: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    x, y, weights = batch if len(batch) == 3 else (*batch, None)
    rows = tf.shape(tf.nest.flatten(x)[0])[0]
    if weights is None:
        weights = tf.ones([rows], tf.float32)
    more = -rows % count

    def grown(value: tf.Tensor) -> tf.Tensor:
        return tf.concat([value, tf.repeat(value[:1], more, axis=0)], axis=0)

    return (
        tf.nest.map_structure(grown, x),
        tf.nest.map_structure(grown, y),
        tf.concat([weights, tf.zeros_like(tf.repeat(weights[:1], more, axis=0))], axis=0),
    )


def precision(recipe: Recipe, placement: Placement) -> str:
    """What the net computes in: as the recipe says, or by device."""
    return recipe.precision or ("bfloat16" if placement.kind == "tpu" else "float32")


def jit_compile(recipe: Recipe, placement: Placement) -> bool:
    """Whether to compile the train step: as the recipe says, or by device.

    XLA wins on a GPU; on a CPU its convolutions and large products are slower than TensorFlow's own (see
    docs/performance.md), except for very small batches, where recipes ask for it. Under mirrored strategies TensorFlow
    cannot compile a step; TPUs always do, by themselves.
    """
    if placement.replicas > 1:
        return False
    if recipe.jit_compile is not None:
        return recipe.jit_compile
    return bool(tf.config.list_physical_devices("GPU"))


def hardware() -> str:
    """The devices in words, such as "2 CPU cores (Intel Xeon …)" or "1 GPU (NVIDIA …)"."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "unknown")
        return f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({name})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU core{'s' if cores != 1 else ''} ({_processor()})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
