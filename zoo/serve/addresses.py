"""The address that the server listens on, and the check of remote access. Standard library only."""

import ipaddress
import os
import socket
from dataclasses import dataclass

from zoo.errors import UsageError, ZooError, reason


@dataclass(frozen=True)
class Address:
    """The host and the ports of the server; port 0 selects any free port."""

    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int = 8500


def check_host(host: str, allow_remote: bool) -> None:
    """Raises `UsageError` if other machines can reach `host` and `--allow-remote` is missing."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is not an address of this machine: {reason(error)}.") from error
    if not allow_remote and not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found):
        raise UsageError(
            f"--host {host} lets other machines use this server, without encryption. To allow this, add "
            "--allow-remote, and --api-key-file to require a key."
        )


def bind(host: str, port: int, flag: str = "--port") -> socket.socket:
    """A socket bound to the address. Raises `ZooError` if the port is in use; `flag` is the flag that selects it."""
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":  # on Windows this would share a port that is in use
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise _unavailable(host, port, error, flag) from error
    return listener


def listen(listener: socket.socket) -> None:
    """Begins to accept connections. Raises `ZooError` if another process, which bound the same address meanwhile, has
    begun: servers that start at the same time can all bind it."""
    try:
        listener.listen()
    except OSError as error:
        raise _unavailable(*listener.getsockname()[:2], error, "--port") from error


def _unavailable(host: str, port: int, error: OSError, flag: str) -> ZooError:
    return ZooError(f"Cannot listen on {host}:{port}: {reason(error)}; choose another port with {flag}.")
