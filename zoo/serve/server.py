"""The running server: REST and gRPC over one set of models, from the first socket to the end of the last request."""

import asyncio
import contextlib
import ipaddress
import logging
import os
import signal
import socket
from dataclasses import dataclass

import uvicorn

from zoo.errors import UsageError, ZooError, reason
from zoo.serve.grpc_api import GrpcServer
from zoo.serve.http_protocol import limited_protocol
from zoo.serve.rest import application
from zoo.serve.service import Service


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


def bind(address: Address) -> socket.socket:
    """The socket of REST, bound before models are loaded. Raises `ZooError` where the port is taken."""
    family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":  # on Windows this would share a port that is in use
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(where)
    except OSError as error:
        listener.close()
        raise ZooError(
            f"REST cannot listen on {address.host}:{address.port}: {reason(error)}; choose another port with --port."
        ) from error
    return listener


class Server(uvicorn.Server):
    """uvicorn, which leaves signals to us: it would end by the signal, and the exit status is to be 0."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def serve(service: Service, address: Address, drain_seconds: float, threads: int) -> int:
    """Loads the models, answers until SIGTERM or SIGINT, finishes what runs, and returns the exit status 0.

    Raises `ZooError` where a port is in use or a model cannot be loaded.
    """
    _raise_file_limit()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # what clients do wrong is no news
    host = f"[{address.host}]" if ":" in address.host else address.host
    with contextlib.closing(bind(address)) as listener:
        grpc_server = GrpcServer(service, f"{host}:{address.grpc_port}", threads)
        service.manager.start()
        config = uvicorn.Config(
            application(service, threads),
            http=limited_protocol(service.limits.seconds),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=4 * service.limits.concurrent,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=drain_seconds,
        )
        server = Server(config)
        for model in service.manager.models.values():
            print(f"{model.name} version {model.newest().number}")
        print(
            f"REST and the page: http://{host}:{listener.getsockname()[1]}/   gRPC: {host}:{grpc_server.port}",
            flush=True,
        )
        try:
            asyncio.run(_run(server, listener, grpc_server, drain_seconds))
        finally:
            service.manager.stop()
    return 0


async def _run(server: Server, listener: socket.socket, grpc_server: GrpcServer, drain_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    ended = None

    def stop(*ignored: object) -> None:
        nonlocal ended
        server.should_exit = True
        ended = ended or grpc_server.stop(drain_seconds)

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *ignored: loop.call_soon_threadsafe(stop))
    grpc_server.start()
    await server.serve(sockets=[listener])
    stop()
    await asyncio.to_thread(ended.wait)


def _raise_file_limit() -> None:
    """Each connection is an open file; the usual limit of 1,024 is less than what the server admits."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
