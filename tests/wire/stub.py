# pyright: basic
"""A stateful stand-in for the fine-tuning services, on loopback: real HTTP, as strict as the published contracts.

It knows OpenAI's wire and both generations of Azure's. Every request is recorded and, where the published documents
are at hand, checked against them; `Service.violations` must stay empty. The behaviour lies in layers: `stub_state`,
`stub_files`, `stub_jobs`, `stub_models`; here are the routes and the server.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from wire import contract
from wire.stub_models import Models
from wire.stub_state import DIALECTS, KEY, Dialect, Refused, Request

__all__ = ["DIALECTS", "KEY", "Dialect", "Refused", "Request", "Running", "Service", "serving"]


class Service(Models):
    """All of it."""

    def answer(self, request: Request) -> tuple[int, Any]:
        """The answer to one request, JSON or bytes."""
        with self.lock:
            self.requests.append(request)
            self._check(request)
            for pattern, method, name in _ROUTES:
                match = re.fullmatch(pattern, request.path)
                if match and method == request.method:
                    if name in self.missing:
                        raise Refused(500, "the proxy does not know this route")
                    return getattr(self, f"_{name}")(request, *match.groups())
            raise Refused(404, f"Invalid URL ({request.method} {request.path})")

    def failure_of(self, request: Request) -> str | None:
        """What goes wrong with this request: the next failure in the queue, if it concerns such a request."""
        creating = request.method == "POST" and request.path == "/fine_tuning/jobs"
        reading = request.method == "GET" and re.fullmatch(r"/fine_tuning/jobs/[^/]+", request.path)
        chatting = request.path.endswith("/chat/completions")
        concerned = {"lost answer": creating, "unknown word": bool(reading), "chat throttled": chatting}
        with self.lock:
            if self.failures and concerned.get(self.failures[0], True):
                return self.failures.pop(0)
        return None

    def _check(self, request: Request) -> None:
        if contract.available() and (self.dialect.name == "openai" or not request.path.endswith("/chat/completions")):
            document = contract.contract(self.dialect.name)  # Azure's documents of fine-tuning have no chat
            body = _known_extras_removed(request.body, self.dialect)
            self.violations += document.request_faults(request.method, request.path, request.query, body, request.form)


_J = r"/fine_tuning/jobs"
_ROUTES = (
    (r"/files", "POST", "create_file"),
    (r"/files", "GET", "list_files"),
    (r"/files/import", "POST", "import_file"),
    (r"/files/([^/]+)", "GET", "get_file"),
    (r"/files/([^/]+)", "DELETE", "delete_file"),
    (r"/files/([^/]+)/content", "GET", "file_content"),
    (r"/uploads", "POST", "start_upload"),
    (r"/uploads/([^/]+)/parts", "POST", "add_part"),
    (r"/uploads/([^/]+)/complete", "POST", "complete_upload"),
    (_J, "POST", "create_job"),
    (_J, "GET", "list_jobs"),
    (_J + r"/([^/]+)", "GET", "get_job"),
    (_J + r"/([^/]+)", "DELETE", "delete_job"),
    (_J + r"/([^/]+)/cancel", "POST", "cancel_job"),
    (_J + r"/([^/]+)/pause", "POST", "pause_job"),
    (_J + r"/([^/]+)/resume", "POST", "resume_job"),
    (_J + r"/([^/]+)/events", "GET", "list_events"),
    (_J + r"/([^/]+)/checkpoints", "GET", "list_checkpoints"),
    (_J + r"/([^/]+)/checkpoints/([^/]+)/copy", "POST", "copy_checkpoint"),
    (_J + r"/([^/]+)/checkpoints/([^/]+)/copy", "GET", "copy_checkpoint"),
    (r"/fine_tuning/alpha/graders/validate", "POST", "validate_grader"),
    (r"/fine_tuning/alpha/graders/run", "POST", "run_grader"),
    (r"/models", "GET", "list_models"),
    (r"/models/(.+)", "GET", "get_model"),
    (r"/models/(.+)", "DELETE", "delete_model"),
    (r"(?:/v1)?/chat/completions", "POST", "chat"),  # Azure answers chats undated, whatever made the model
    (r"/deployments/([^/]+)/chat/completions", "POST", "chat"),
)


def _known_extras_removed(body: Any, dialect: Dialect) -> Any:
    """Azure takes `trainingType`, which its documents leave out."""
    if isinstance(body, dict) and dialect.name.startswith("azure"):
        return {key: value for key, value in body.items() if key != "trainingType"}
    return body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # one packet per answer
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        kind = self.headers.get("content-type", "")
        service = self.server.service
        form = body = None
        if kind.startswith("multipart/"):
            form = _form(kind, self._read()) if service.keep_content else self._measure(kind, length)
        elif length or "chunked" in self.headers.get("transfer-encoding", ""):
            body = json.loads(self._read() or b"null")
        status, answer = self._answer(parts.path, dict((parts.query and parse_qsl(parts.query)) or []), body, form)
        self._send(status, answer)

    def _answer(self, path: str, query: dict[str, str], body: Any, form: Any) -> tuple[int, Any]:
        service = self.server.service
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not path.startswith(service.dialect.root + "/"):
            return 404, {"error": {"message": f"no such path {path}", "type": "x", "param": None, "code": "404"}}
        if KEY not in (headers.get("authorization", "").removeprefix("Bearer "), headers.get("api-key")):
            error = {"message": "Incorrect API key provided", "type": "x", "param": None, "code": "invalid_api_key"}
            return 401, {"error": error}
        request = Request(self.command, path.removeprefix(service.dialect.root), query, headers, body, form)
        failure = service.failure_of(request)
        if failure == "auth":
            error = {"message": f"Incorrect API key provided: {KEY}", "type": "x", "param": None, "code": None}
            return 401, {"error": error}
        if failure in ("throttled", "chat throttled"):
            return 429, {"error": {"message": "Rate limit reached", "type": "x", "param": None, "code": None}}
        if failure == "unreachable":
            raise ConnectionAbortedError
        try:
            status, answer = service.answer(request)
        except Refused as exc:
            return exc.status, {"error": exc.error}
        if failure == "lost answer":
            raise ConnectionAbortedError
        return status, {**answer, "status": "quantizing"} if failure == "unknown word" else answer

    def _read(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _measure(self, kind: str, length: int) -> dict[str, Any]:
        """A large upload: only its beginning and its end are kept, and its size."""
        head = self.rfile.read(min(length, 4096))
        left, tail = length - len(head), b""
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            left -= len(piece)
            tail = (tail + piece)[-4096:]
        kept = head + tail
        form = _form(kind, kept)
        for name, value in form.items():
            if isinstance(value, tuple):
                form[name] = (value[0], length - (len(kept) - len(value[1])))
        return form

    def _send(self, status: int, answer: Any) -> None:
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header(
            "content-type", "application/octet-stream" if isinstance(answer, bytes) else "application/json"
        )
        self.send_header("content-length", str(len(raw)))
        self.send_header("x-request-id", "req-stub")
        if status == 429:
            self.send_header("retry-after", "0.02")
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _do  # noqa: N815 - the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        """Silence."""


def _form(kind: str, raw: bytes) -> dict[str, Any]:
    message = BytesParser().parsebytes(f"content-type: {kind}\r\n\r\n".encode() + raw)
    fields: dict[str, Any] = {}
    for part in message.get_payload():
        assert not isinstance(part, str)
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        assert isinstance(name, str)
        filename = part.get_filename()
        fields[name] = (filename, data) if filename else data.decode() if name != "data" else (None, data)
    return fields


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    service: Service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@dataclass(frozen=True)
class Running:
    """A service that answers at `url`."""

    service: Service
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.service.dialect.root}"


@contextmanager
def serving(service: Service) -> Generator[Running]:
    """Run the service on a free port."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.service = service
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Running(service, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
