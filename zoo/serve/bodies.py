"""Request bodies: read within limits of size, time and memory, and decompressed within the same size."""

import asyncio
import contextlib
import zlib

from starlette.requests import ClientDisconnect, Request

from zoo.serve.errors import Code, RequestError, invalid
from zoo.serve.settings import Limits

DISCARD_SECONDS = 5.0


class Bodies:
    """Reads request bodies. Together, the bodies being read may have eight times the size limit of one."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """The body. Raises `RequestError` if it is too large, too slow or incomplete."""
        most = self._limits.body_bytes
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > most:
            await self._discard(request)
            raise _too_large(most)
        chunks: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    self._held += len(chunk)
                    if size > most:
                        chunks.clear()
                        await self._discard(request)
                        raise _too_large(most)
                    if self._held > 8 * most:
                        raise RequestError(Code.UNAVAILABLE, "Too many large requests are arriving; try again.")
                    chunks.append(chunk)
        except TimeoutError as error:
            raise RequestError(Code.DEADLINE_EXCEEDED, "The request's body did not arrive in time.", 408) from error
        except ClientDisconnect as error:
            raise RequestError(Code.CANCELLED, "The client closed the connection.", 400) from error
        finally:
            self._held -= size
        return b"".join(chunks)

    async def _discard(self, request: Request) -> None:
        """Reads and discards for a while: a client whose connection closes while it sends does not get the response."""
        left = 4 * self._limits.body_bytes
        with contextlib.suppress(TimeoutError, ClientDisconnect):
            async with asyncio.timeout(DISCARD_SECONDS):
                async for chunk in request.stream():
                    left -= len(chunk)
                    if left < 0:
                        return

    def decompress(self, body: bytes, encoding: str) -> bytes:
        """The decompressed body. Raises `RequestError` for damaged data, and if the result is larger than the
        limit."""
        if encoding in ("", "identity"):
            return body
        if encoding not in ("gzip", "x-gzip"):
            raise RequestError(Code.UNIMPLEMENTED, "Content-Encoding must be gzip or identity.", 415)
        stream = zlib.decompressobj(wbits=31)
        try:
            content = stream.decompress(body, self._limits.body_bytes + 1)
        except zlib.error as error:
            raise invalid("The request's body is not gzip data.") from error
        if len(content) > self._limits.body_bytes:
            raise _too_large(self._limits.body_bytes)
        if not stream.eof:
            raise invalid("The request's gzip data is incomplete.")
        if stream.unused_data:
            raise invalid("The request's body has more data after the gzip data, which must be one member.")
        return content


def _too_large(most: int) -> RequestError:
    return RequestError(Code.INVALID_ARGUMENT, f"The request's body is larger than {most} bytes.", 413)
