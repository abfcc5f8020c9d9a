"""The addresses of the workers: from TF_CONFIG, Slurm, Kubernetes or Google Cloud."""

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Literal

import tensorflow as tf

from zoo.errors import UsageError, reason

Cluster = Literal["tf_config", "slurm", "kubernetes", "gce"]


def find_workers(cluster: Cluster | None, slurm_port: int) -> tuple[Any, tuple[str, ...], int]:
    """TensorFlow's resolver, the addresses of all workers (the chief first) and the index of this process.

    Raises `UsageError` if the source of the addresses is missing or wrong.
    """
    resolvers = tf.distribute.cluster_resolver
    kind = cluster or ("slurm" if not os.environ.get("TF_CONFIG") and runs_under_slurm() else "tf_config")
    if kind == "tf_config":
        workers, worker = tf_config(os.environ.get("TF_CONFIG"))
        return resolvers.TFConfigClusterResolver(), workers, worker
    try:
        if kind == "slurm":
            workers, worker = _slurm_tasks(slurm_port)
            resolver = resolvers.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": workers}),
                task_type="worker",
                task_id=worker,
                # those that are visible to the task
                num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
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
        resolver.task_type, resolver.task_id = "worker", _own_index(addresses)
        return resolver, addresses, resolver.task_id
    except Exception as error:  # a missing library or variable, or a server that does not respond
        raise UsageError(
            f"The {kind} resolver finds no workers ({type(error).__name__}: {reason(error)}). Set TF_CONFIG, or run "
            "this command where the cluster sets its variables."
        ) from error


def _own_index(workers: Sequence[str]) -> int:
    """Index of this machine among the workers, which the resolvers of Kubernetes and Google Cloud do not tell."""
    own = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None)}
    indices = [index for index, worker in enumerate(workers) if worker.rpartition(":")[0] in own]
    if len(indices) != 1:
        raise LookupError(f"{' and '.join(sorted(own))}, this machine, is not one of {', '.join(workers) or 'none'}")
    return indices[0]


def runs_under_slurm() -> bool:
    """Whether this process is one of several tasks of a Slurm job step."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _slurm_tasks(port: int) -> tuple[tuple[str, ...], int]:
    """The addresses of a job step's tasks in the order of their ranks, and the rank of this task.

    TensorFlow's own resolver requires GPUs, assigns again those that Slurm has assigned, and sorts the nodes by name,
    n10 before n9, while ranks follow Slurm's list.
    """
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver as slurm

    nodes = slurm.expand_hostlist(os.environ["SLURM_STEP_NODELIST"])
    counts = slurm.expand_tasks_per_node(os.environ["SLURM_STEP_TASKS_PER_NODE"])
    tasks = [(node, number) for node, count in zip(nodes, counts, strict=True) for number in range(count)]
    return tuple(f"{node}:{port + number}" for node, number in tasks), int(os.environ["SLURM_PROCID"])


def tf_config(text: str | None) -> tuple[tuple[str, ...], int]:
    """The workers' addresses (the chief first) and the index of this process, from the text of TF_CONFIG.

    Raises `UsageError` that says what is wrong with it.
    """
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    if not text:
        raise UsageError(
            f"multi_worker needs the addresses of the workers, and TF_CONFIG is not set. Example: {example}; "
            "`zoo launch --workers 2 -- train NAME` sets it for several processes on this machine."
        )
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"TF_CONFIG is not JSON ({error}). Example: {example}.") from error
    try:
        cluster, task = config["cluster"], config["task"]
        kind, index = task["type"], int(task["index"])
        own = cluster[kind][index]
        if kind not in ("chief", "worker") or index < 0:
            raise IndexError
    except (KeyError, IndexError, TypeError, ValueError) as error:
        what = f"lacks {error}" if isinstance(error, KeyError) else "has no worker of the task's type and index"
        raise UsageError(f"TF_CONFIG {what}. Example: {example}.") from error
    workers = tuple(address for job in ("chief", "worker") for address in cluster.get(job, []))
    for address in workers:
        if not isinstance(address, str) or not address.rpartition(":")[2].isdecimal():
            raise UsageError(f"TF_CONFIG: {address!r} is not HOST:PORT, such as host0:2222.")
    return workers, workers.index(own)
