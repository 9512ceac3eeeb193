# pyright: basic
"""A stand-in for the identity endpoint that Azure's hosts have, on loopback: tokens for whoever runs there."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECRET_HEADER = "the-header-of-the-host"


@dataclass
class Identity:
    """What it hands out, and what it was asked."""

    tokens: Mapping[str, str]
    """By resource."""
    lives_s: int = 3600
    refuses: bool = False
    asked: list[str] = field(default_factory=list)
    """The resources, in order."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        identity, query = self.server.identity, parse_qs(urlsplit(self.path).query)
        (resource,) = query["resource"]
        identity.asked.append(resource)
        if identity.refuses or self.headers.get("X-IDENTITY-HEADER") != SECRET_HEADER:
            return self._send(400, {"error": "invalid_request", "error_description": "no identity is assigned"})
        token = {"access_token": identity.tokens[resource], "token_type": "Bearer", "resource": resource}
        return self._send(200, {**token, "expires_on": str(int(time.time()) + identity.lives_s)})

    def _send(self, status: int, answer: Mapping[str, object]) -> None:
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as http.server has it
        """Silence."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    identity: Identity


@contextmanager
def serving(identity: Identity) -> Generator[str]:
    """The URL that IDENTITY_ENDPOINT names."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.identity = identity
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/msi/token"
    finally:
        server.shutdown()
        server.server_close()
