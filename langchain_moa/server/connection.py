"""HTTP/1.1 connections that no client can hold for ever: uvicorn's, with time limits and stricter about headers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Seconds until a request's headers are complete. Idle connections between two requests have uvicorn's keep-alive time.
_HEAD_SECONDS = 20.0

_MAX_HEADERS = 100
_MAX_HEADER_BYTES = 32_768

# Kept by the operating system for one client.
_SEND_BYTES = 131_072

# Bytes per second below which a client counts as not reading; as in Kestrel (MinResponseDataRate).
_MIN_RATE = 240


class _Parser(h11.Connection):
    """h11's parser, which also refuses what a proxy in front may read in another way, and headers beyond limits.

    h11 (0.16) limits the size of headers only while they are incomplete, which may be many reads later.
    """

    refusal = ""
    """Why a request was refused."""

    def next_event(self) -> Any:
        """Return the next event. See `h11.Connection`."""
        event = super().next_event()
        if isinstance(event, h11.Request) and (refusal := _why_not(event)):
            self.refusal = refusal
            raise h11.RemoteProtocolError(refusal)
        return event


def _why_not(request: h11.Request) -> str:
    headers = list(request.headers)
    names = {name for name, _ in headers}
    if {b"content-length", b"transfer-encoding"} <= names:
        # RFC 9112, section 6.3: whoever reads it the other way takes the body for another request.
        return "It has both Content-Length and Transfer-Encoding."
    if len(headers) > _MAX_HEADERS:
        return f"It has more than {_MAX_HEADERS} headers."
    if sum(len(name) + len(value) for name, value in headers) > _MAX_HEADER_BYTES:
        return f"Its headers are larger than {_MAX_HEADER_BYTES} bytes."
    return ""


class Connection(H11Protocol):
    """One connection.

    It is built on attributes of uvicorn's class that are not documented, `conn` and `cycle` (uvicorn 0.34 to 0.54):
    uvicorn has no limits of this kind.
    """

    write_timeout = 60.0
    """Seconds after which a client who reads nothing of what was sent is dropped."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = self._parser = _Parser(h11.SERVER, max_incomplete_event_size=_MAX_HEADER_BYTES)
        self._head_alarm = _Alarm(self.loop)
        self._write_alarm = _Alarm(self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begin to wait for the first request."""
        super().connection_made(transport)
        # The system would keep megabytes for a client that reads nothing, and long not tell that a slow one reads.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
        # Paused whenever anything waits for the client, so that `pause_writing` begins the time limit.
        transport.set_write_buffer_limits(high=0)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Read on. Bytes alone are no request, and do not extend the time limit."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._head_alarm.clear()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Go on: nothing waits for the client any more."""
        super().resume_writing()
        self._write_alarm.clear()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._head_alarm.clear()
        self._write_alarm.clear()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse a request, with the reason."""
        try:
            super().send_400_response(f"{msg} {self._parser.refusal}".rstrip())
        except h11.LocalProtocolError:  # it was answered before its end
            self.transport.abort()

    def _wait_for_head(self) -> None:
        if not self._head_alarm.is_set:
            self._head_alarm.set(_HEAD_SECONDS, self.timeout_keep_alive_handler)

    def _wait_for_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._write_alarm.set(self.write_timeout, self._check_reader, waiting)

    def _check_reader(self, waited: int) -> None:
        if waited - self.transport.get_write_buffer_size() < _MIN_RATE * self.write_timeout:
            self.transport.abort()
        else:
            self._wait_for_reader()


class _Alarm:
    """A time limit that can be set and cleared."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, seconds: float, callback: Callable[..., None], *args: Any) -> None:
        self.clear()
        self._handle = self._loop.call_later(seconds, callback, *args)

    def clear(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None
