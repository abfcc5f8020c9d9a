"""uvicorn's HTTP protocol with time limits, so that a slow client cannot keep a connection open."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0
HEADER_BYTES = 64 * 2**10
LINGER_SECONDS = 10.0  # for a client to read the rest of a response before its connection is closed


def limited_protocol(seconds: float) -> type[HttpToolsProtocol]:
    """A protocol that closes a connection if its request or the reading of its response takes more than `seconds`."""

    class LimitedProtocol(HttpToolsProtocol):
        _arrival: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None
        _header_bytes: int | None = 0  # None once the headers are complete

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._arrive_within(HEADER_SECONDS)

        def connection_lost(self, exc: Exception | None) -> None:
            self._arrive_within(None)
            self.resume_writing()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self._header_bytes is not None:
                self._header_bytes += len(data)
            super().data_received(data)
            if self._header_bytes is not None and self._header_bytes > HEADER_BYTES:
                if not self.transport.is_closing():
                    self.send_400_response("Request headers are too large.")

        def on_message_begin(self) -> None:
            self._header_bytes = 0
            self._arrive_within(HEADER_SECONDS)
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._header_bytes = None
            self._arrive_within(seconds + LINGER_SECONDS)  # after the 408 that the application answers
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._arrive_within(None)
            super().on_message_complete()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reading = self.loop.call_later(seconds, self.transport.abort)

        def resume_writing(self) -> None:
            if self._reading is not None:
                self._reading.cancel()
                self._reading = None
            if self.flow is not None:
                super().resume_writing()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

        def _arrive_within(self, limit: float | None) -> None:
            if self._arrival is not None:
                self._arrival.cancel()
            self._arrival = self.loop.call_later(limit, self._cut) if limit is not None else None

        def _cut(self, *ignored: Any) -> None:
            # A response in progress, such as 408, is written first.
            self.transport.close()
            self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    return LimitedProtocol
