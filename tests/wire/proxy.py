# pyright: basic
"""A proxy on loopback that loses, cuts, delays and falsifies answers, in front of a server that does not know of it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@dataclass(frozen=True)
class Fault:
    """What happens to one request. `reaches` tells whether the server sees it."""

    name: str
    reaches: bool
    status: int | None = None
    """Answer this status instead of the server's answer."""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b'{"error": {"message": "a fault of the proxy", "type": "proxy", "param": null, "code": null}}'
    content_type: str = "application/json"
    cut: bool = False
    """Send half of the server's answer, then hang up."""
    hang_up: bool = False
    stall_s: float = 0.0
    """Wait so long before answering."""
    late_s: float = 0.0
    """Hang up, and hand the request on when a later one was answered, or after so long if none comes."""


_NO_QUOTA = {"message": "You exceeded your current quota", "type": "insufficient_quota", "param": None}
_QUOTA = json.dumps({"error": {**_NO_QUOTA, "code": "insufficient_quota"}}).encode()
FAULTS = {
    one.name: one
    for one in (
        Fault("dropped before", reaches=False, hang_up=True),
        Fault("dropped after", reaches=True, hang_up=True),
        Fault("cut", reaches=True, cut=True),
        Fault("page before", reaches=False, status=200, body=b"<html>log in</html>", content_type="text/html"),
        Fault("page after", reaches=True, status=200, body=b"<html>log in</html>", content_type="text/html"),
        Fault("nonsense after", reaches=True, status=200, body=b'{"id": '),
        Fault("stalled", reaches=True, stall_s=30),
        Fault("408 before", reaches=False, status=408),
        Fault("409 before", reaches=False, status=409),
        Fault("409 after", reaches=True, status=409),
        Fault("429 before", reaches=False, status=429),
        Fault("429 with retry-after", reaches=False, status=429, headers=(("retry-after", "0.02"),)),
        Fault("429 after", reaches=True, status=429, headers=(("retry-after", "0.02"),)),
        Fault("500 before", reaches=False, status=500),
        Fault("500 after", reaches=True, status=500),
        Fault("502 page after", reaches=True, status=502, body=b"<html>Bad Gateway</html>", content_type="text/html"),
        Fault("503 with retry-after", reaches=False, status=503, headers=(("retry-after", "0.02"),)),
        Fault("out of quota", reaches=False, status=429, body=_QUOTA),
        Fault("late", reaches=True, late_s=0.5),
    )
}

Concerns = Callable[[str, str], bool]


def creating(method: str, path: str) -> bool:
    """The request that costs."""
    return method == "POST" and path.partition("?")[0].endswith("/fine_tuning/jobs")


def everything(_method: str, _path: str) -> bool:
    """Every request."""
    return True


@dataclass
class Plan:
    """What goes wrong, in order: each concerned request takes the next fault."""

    faults: list[Fault | None] = field(default_factory=list)
    concerns: Concerns = creating
    for_ever: bool = False
    """The last fault hits every further request."""
    hits: list[str] = field(default_factory=list)
    on_their_way: int = 0
    """Requests that were held back and have not arrived yet."""
    went_through: threading.Event = field(default_factory=threading.Event)
    """A concerned request came after those held back, and was answered."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> Fault | None:
        with self.lock:
            if not self.concerns(method, path) or not self.faults:
                return None
            fault = self.faults[0] if self.for_ever and len(self.faults) == 1 else self.faults.pop(0)
            self.hits.append(fault.name if fault else "none")
            return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        body = self._read()
        plan = self.server.plan
        fault = plan.next(self.command, self.path)
        if fault is None:
            self._answer(*self._upstream(body))
            if plan.concerns(self.command, self.path):
                plan.went_through.set()
            return
        if fault.late_s:
            plan.on_their_way += 1
            threading.Thread(target=self._deliver_late, args=[body, fault.late_s], daemon=True).start()
            self.close_connection = True
            return
        answer = self._upstream(body) if fault.reaches else None
        time.sleep(fault.stall_s)
        if fault.hang_up:
            self.close_connection = True
        elif fault.status is not None:
            self._answer(fault.status, [("content-type", fault.content_type), *fault.headers], fault.body)
        elif answer is not None:
            self._answer(*answer, cut=fault.cut)

    def _deliver_late(self, body: bytes, late_s: float) -> None:
        self.server.plan.went_through.wait(late_s)
        try:
            self._upstream(body)
        finally:
            self.server.plan.on_their_way -= 1

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _upstream(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=300)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: Any, body: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _do  # noqa: N815 - the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        """Silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    plan: Plan
    upstream: int

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def proxying(upstream: int, plan: Plan) -> Generator[int]:
    """The port of a proxy in front of the server at port `upstream`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.plan, server.upstream = plan, upstream
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
