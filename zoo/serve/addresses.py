"""Where the server listens, and whether it may. Imports the standard library alone."""

import ipaddress
import os
import socket
from dataclasses import dataclass

from zoo.errors import UsageError, ZooError, reason


@dataclass(frozen=True)
class Address:
    """Where the server listens; a port of 0 takes any that is free."""

    host: str = "127.0.0.1"
    port: int = 8501
    grpc_port: int = 8500


def check_host(host: str, allow_remote: bool) -> None:
    """Raises `UsageError` where other machines could reach `host` and that was not asked for."""
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is no address of this machine: {reason(error)}.") from error
    if not allow_remote and not all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found):
        raise UsageError(
            f"--host {host} lets other machines use this server, without encryption. Where that is wanted, add "
            "--allow-remote, and --api-key-file to let in only those who have a key."
        )


def bind(host: str, port: int, flag: str = "--port") -> socket.socket:
    """A socket bound to that address. Raises `ZooError` where the port is taken; `flag` is what chooses it."""
    family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":  # on Windows this would share a port that is in use
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise ZooError(f"Cannot listen on {host}:{port}: {reason(error)}; choose another port with {flag}.") from error
    return listener
