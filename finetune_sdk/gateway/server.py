"""The HTTP server: uvicorn, with a limit to how long a client may take to say what it wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import FrameType

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from finetune_sdk.gateway.guard import Guard

HEADERS_S = 20.0
"""From a connection's first moment, or the end of its last answer, to the end of the next request's headers."""
_LEAVE_S = 20
_MOST_CONNECTIONS = 2000


class _Deadline(HttpToolsProtocol):
    """Closes a connection whose request's headers do not arrive in time: one who dribbles them gets no more of it."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._timer is None:
            self._watch()

    def on_headers_complete(self) -> None:
        self._rest()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._timer = self.loop.call_later(HEADERS_S, self._late)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


class _Server(uvicorn.Server):
    """Streams end when the server is told to leave, so that leaving does not wait for their readers."""

    guard: Guard

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.guard.service.stopping.set()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 = any free one. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=1024)


def serve(guard: Guard, door: socket.socket, *, log_level: str) -> None:
    """Serve until told to leave by SIGINT or SIGTERM."""
    server = _Server(options(guard, log_level=log_level))
    server.guard = guard
    with contextlib.suppress(KeyboardInterrupt):  # the signal that it has obeyed, raised once more
        server.run(sockets=[door])


def options(app: Guard, *, log_level: str) -> uvicorn.Config:
    """How uvicorn serves it."""
    return uvicorn.Config(
        app,
        http=_Deadline,
        ws="none",
        access_log=False,
        log_level=log_level,
        server_header=False,
        date_header=True,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_LEAVE_S,
        limit_concurrency=_MOST_CONNECTIONS,
        proxy_headers=False,
        lifespan="on",
    )
