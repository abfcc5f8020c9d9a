"""The other workers of a cluster: waiting for them to start, and noticing when one is lost."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from zoo.errors import UsageError, ZooError, reason
from zoo.paths import delete_temporary

AGAIN = "Run the same command on all workers again to resume from the last checkpoint, if one was written."
PROBE_SECONDS = 2.0  # between two polls of the other workers
PROBES_MISSED = 5  # missed polls before a worker counts as lost


def wait_for_workers(workers: Sequence[str], worker: int, timeout: float) -> None:
    """Returns when all workers have started: each listens at its own address until it has reached the others.

    TensorFlow waits for them too, but without a limit, and nothing else in the process runs meanwhile. Raises
    `UsageError` if this worker's port is in use, `ZooError` that names the workers that do not start.
    """
    port, deadline = int(workers[worker].rpartition(":")[2]), time.monotonic() + timeout
    with socket.socket() as own:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            own.bind(("", port))
        except OSError as error:
            raise UsageError(
                f"This worker's address is {workers[worker]}, but port {port} is not available here ({reason(error)}). "
                "Choose another port in every worker's TF_CONFIG; under Slurm, use --slurm-port."
            ) from error
        own.listen(len(workers))
        absent = [i for i in range(len(workers)) if i != worker]
        while absent := [i for i in absent if not _answers(workers[i])]:
            if time.monotonic() > deadline:
                named = ", ".join(f"worker {i} ({workers[i]})" for i in absent)
                raise ZooError(
                    f"No response from {named} after {timeout:g} seconds. Check that it was started with the same list "
                    "of workers in the same order, and that its port can be reached from here."
                )
            time.sleep(0.2)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True


# A process of its own, as nothing else runs in this one: it also passes on what Ctrl-C sends to both.
WATCH = """
import os, signal, sys, time

def stop(*_):
    os.kill(parent, signal.SIGKILL)

parent, seconds, message = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
signal.signal(signal.SIGINT, stop)
deadline = time.monotonic() + seconds
while os.getppid() == parent:
    if time.monotonic() > deadline:
        print(message, file=sys.stderr, flush=True)
        stop()
    time.sleep(0.1)
"""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Ends this process where TensorFlow's connection to the other workers, in the block, takes longer.

    TensorFlow waits without a limit for a worker whose port another program has, and for one that was lost or started
    again meanwhile, in a call that neither a thread nor a signal handler of Python interrupts.
    """
    message = (
        f"error: The workers accept connections, but TensorFlow was not connected to them after {seconds:g} seconds. "
        "Check that their ports are right and not another program's, and run the same command on all workers again."
    )
    watch = subprocess.Popen([sys.executable, "-I", "-S", "-c", WATCH, str(os.getpid()), str(seconds), message])
    try:
        yield
    finally:
        watch.kill()
        watch.wait()


class PeerMonitor(threading.Thread):
    """Monitors the other workers, and ends this process when one is lost.

    TensorFlow itself waits for a lost worker without a limit, in a call that cannot be interrupted.
    """

    def __init__(self, peers: Mapping[str, str], interval: float = PROBE_SECONDS):
        super().__init__(name="peer-monitor", daemon=True)
        self.interval = interval
        self.peers, self.missed = dict(peers), dict.fromkeys(peers, 0)
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(self.interval):
            lost = [name for name, missed in self.poll().items() if missed >= PROBES_MISSED]
            if lost and not self.stopped.is_set():
                print(f"error: {self.lost_message(lost)}", file=sys.stderr, flush=True)
                delete_temporary()
                os._exit(1)  # the main thread may be in a call that never returns

    def poll(self) -> dict[str, int]:
        """Connects to each worker; how many times in a row each has not responded."""
        for name, address in self.peers.items():
            self.missed[name] = 0 if _answers(address) else self.missed[name] + 1
        return self.missed

    def lost_message(self, lost: list[str]) -> str:
        """The error message for lost workers."""
        named = ", ".join(f"{name} ({self.peers[name]})" for name in lost)
        return f"{named} was lost. {AGAIN}"

    def raise_if_lost(self, error: BaseException) -> NoReturn:
        """Raises `ZooError` that names the workers that do not respond, after an error in a collective operation."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            lost = [name for name, missed in self.poll().items() if missed]
            if lost:
                raise ZooError(self.lost_message(lost)) from error
            time.sleep(self.interval / 2)
        raise ZooError(f"An operation over all workers failed: {reason(error)}. {AGAIN}") from error

    def stop(self) -> None:
        """Stops monitoring."""
        self.stopped.set()
