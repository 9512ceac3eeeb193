# pyright: basic
"""A stand-in for Azure Resource Manager's deployments, on loopback; its answers are checked against the contract."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from azure.core.credentials import AccessToken
from wire import contract

TOKEN = "an-entra-token-of-the-tests"
ACCOUNT = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.CognitiveServices/accounts/acct/deployments"


class StaticCredential:
    """What Microsoft's clients take for a credential."""

    def get_token(self, *_scopes: str, **_: Any) -> Any:
        return AccessToken(TOKEN, 4_000_000_000)


@dataclass
class Arm:
    """The state, and what a test may arrange."""

    polls: int = 1
    """How many looks at an operation find it unfinished."""
    conflicts: int = 0
    """How many changes are refused because another one is going on."""
    out_of_quota: bool = False
    fails: bool = False
    forbidden: bool = False
    on_put: Callable[[Any], Any] = lambda _body: None
    """Sees every body."""
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    changing: int = 0
    most_at_once: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    disable_nagle_algorithm = True
    server: _Server

    def _do(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        arm = self.server.arm
        with arm.lock:
            arm.requests.append((self.command, parts.path))
            if self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self._send(401, {"error": {"code": "InvalidAuthenticationToken", "message": "no token"}})
            if parts.path.startswith("/operations/"):
                return self._operation(parts.path.rpartition("/")[2])
            if contract.available():
                document = contract.contract("arm")
                arm.violations += document.request_faults(
                    self.command, parts.path, dict(parse_qsl(parts.query)), body, None
                )
            status, answer, headers = self._deployment(parts.path, body)
            if contract.available() and answer is not None:
                arm.violations += contract.contract("arm").answer_faults(self.command, parts.path, status, answer)
            return self._send(status, answer, headers)

    def _deployment(self, path: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        arm = self.server.arm
        if arm.forbidden:
            return 403, _error("AuthorizationFailed", "The client has no permission"), {}
        if path == ACCOUNT:
            return 200, {"value": list(arm.deployments.values())}, {}
        match = re.fullmatch(re.escape(ACCOUNT) + r"/([^/]+)", path)
        if match is None:
            return 404, _error("ResourceNotFound", path), {}
        name = match[1]
        if self.command == "GET":
            found = arm.deployments.get(name)
            return (200, found, {}) if found else (404, _error("DeploymentNotFound", name), {})
        if arm.conflicts:
            arm.conflicts -= 1
            text = "Another operation is being performed on the parent resource. Please try again later."
            return 409, _error("RequestConflict", text), {"retry-after": "0.01"}
        return self._put(name, body) if self.command == "PUT" else self._delete(name)

    def _put(self, name: str, body: Any) -> tuple[int, Any, dict[str, str]]:
        arm = self.server.arm
        if arm.out_of_quota:
            text = "This operation require 1 new capacity in quota Tokens Per Minute"
            return 400, _error("InsufficientQuota", text), {}
        arm.on_put(body)
        created = name not in arm.deployments
        arm.deployments[name] = {
            "id": f"{ACCOUNT}/{name}",
            "name": name,
            "type": "Microsoft.CognitiveServices/accounts/deployments",
            "sku": body["sku"],
            "properties": {**body["properties"], "provisioningState": "Creating"},
        }
        return (201 if created else 200), arm.deployments[name], self._begun(name)

    def _delete(self, name: str) -> tuple[int, Any, dict[str, str]]:
        arm = self.server.arm
        if arm.deployments.pop(name, None) is None:
            return 204, None, {}
        return 202, None, {"location": self._begun(name)["azure-asyncoperation"], "x-ms-retry-after-ms": "10"}

    def _begun(self, name: str) -> dict[str, str]:
        arm = self.server.arm
        arm.operations[name] = arm.polls
        arm.changing += 1
        arm.most_at_once = max(arm.most_at_once, arm.changing)
        url = f"http://127.0.0.1:{self.server.server_address[1]}/operations/{name}"
        return {"azure-asyncoperation": url, "x-ms-retry-after-ms": "10"}

    def _operation(self, name: str) -> None:
        arm = self.server.arm
        if arm.operations.get(name, 0) > 0:
            arm.operations[name] -= 1
            return self._send(202, {"status": "Creating"}, {"x-ms-retry-after-ms": "10"})
        arm.changing -= 1
        state = "Failed" if arm.fails else "Succeeded"
        if name in arm.deployments:
            arm.deployments[name]["properties"]["provisioningState"] = state
        answer: dict[str, Any] = {"status": state}
        if arm.fails:
            answer["error"] = {"code": "DeploymentFailed", "message": "the model could not be loaded"}
        return self._send(200, answer)

    def _send(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
        raw = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_PUT = do_DELETE = _do  # noqa: N815 - the names http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as http.server has it
        """Silence."""


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    arm: Arm


@contextmanager
def serving(arm: Arm) -> Generator[str]:
    """The URL of the stand-in."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.arm = arm
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
