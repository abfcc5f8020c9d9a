"""Several processes on this machine that train together, to test a cluster. Standard library only."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from zoo.errors import UsageError
from zoo.paths import delete_temporary


def launch(workers: int, command: Sequence[str]) -> int:
    """Runs `zoo COMMAND` in several processes, each with TF_CONFIG set, and returns the largest of their exit statuses.

    Their output is printed line by line, prefixed with the name of the worker. The status of a process that a signal
    ended is 128 plus the number of the signal. SIGINT and SIGTERM to this process go to all of them, and they end with
    it. Raises `UsageError` for fewer than one worker and for no command.
    """
    if workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1.")
    if not command:
        raise UsageError("There is nothing to launch; for example: zoo launch --workers 2 -- train lenet5_mnist")
    # What a run records as its command begins with argv[0].
    code = (
        f"import sys; sys.argv[0] = 'zoo launch --workers {workers} --'; "
        "from zoo.distribute.launch import end_with_launcher; end_with_launcher(); "
        "from zoo.cli import console; console()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *command],
            env={**os.environ, "TF_CONFIG": config},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # so that Ctrl-C comes to this process alone, which passes it on
        )
        for config in local_configs(local_addresses(workers))
    ]
    readers = [
        threading.Thread(target=_pass_on, args=(f"[worker {index}] ", process))
        for index, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()

    def stop(number: int, frame: object) -> None:
        for process in processes:
            process.send_signal(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    for reader in readers:
        reader.join()
    statuses = [process.wait() for process in processes]
    for process in processes:
        process.stdin.close()
    for number, handler in before.items():
        signal.signal(number, handler)
    for index, status in enumerate(statuses):
        if status < 0:
            print(f"[worker {index}] ended by {signal.Signals(-status).name}", file=sys.stderr)
    return max(status if status >= 0 else 128 - status for status in statuses)


def end_with_launcher() -> None:
    """Ends this process, a worker, when its launcher ends and with it the pipe that is this process's input."""

    def wait() -> None:
        while os.read(0, 4096):  # not sys.stdin, whose lock Python takes when it ends
            pass
        delete_temporary()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _pass_on(prefix: str, process: subprocess.Popen) -> None:
    with process.stdout as lines, contextlib.suppress(BrokenPipeError):  # the worker finds its own output closed then
        for line in lines:
            print(prefix + line, end="", flush=True)


def local_addresses(workers: int) -> list[str]:
    """An address on this machine for each worker, at a port that is free."""
    probes = [socket.socket() for _ in range(workers)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses


def local_configs(addresses: Sequence[str]) -> list[str]:
    """What TF_CONFIG says to the worker at each address."""
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index in range(len(addresses))
    ]
