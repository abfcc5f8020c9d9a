"""The running server: REST and gRPC over one set of models, from the first socket to the end of the last request."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys

import uvicorn

from zoo.serve.addresses import Address, bind, listen
from zoo.serve.grpc_api import GrpcServer
from zoo.serve.http_protocol import limited_protocol
from zoo.serve.rest import application
from zoo.serve.service import Service


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would end the process with another exit status than 0."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def serve(service: Service, address: Address, drain_seconds: float, threads: int) -> int:
    """Loads the models, serves until SIGTERM or SIGINT, finishes running requests, and returns the exit status 0.

    Raises `ZooError` if a port is in use or a model cannot be loaded.
    """
    _raise_file_limit()
    # While a version is loaded, in Python, requests wait for the interpreter 1 ms at most, not 5; and what is imported
    # by now is not searched for garbage whenever a version is unloaded.
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # invalid requests are not logged
    host = f"[{address.host}]" if ":" in address.host else address.host
    with contextlib.closing(bind(address.host, address.port)) as listener:
        grpc_server = GrpcServer(service, f"{host}:{address.grpc_port}", threads)
        service.manager.start()
        listen(listener)
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
    """Raises the limit of open files: each connection is one, and the usual limit of 1,024 is too low."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
