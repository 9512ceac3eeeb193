# pyright: basic
"""How the hub of `hub.py` is reached: its routes, and the server that answers on loopback."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from wire import hub as state
from wire.hub import ORG, TEXTS, TOKEN, USER, Fault, Hub, Refused, Repo, git_oid


def _routes() -> list[tuple[str, re.Pattern[str], str]]:
    repo = r"(?P<kind>models|spaces|datasets)/(?P<repo>[^/]+/[^/]+)"
    table = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create_repo"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", rf"/api/{repo}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"/api/{repo}/commit/(?P<revision>[^/]+)", "commit"),
        ("GET", rf"/api/{repo}/revision/(?P<revision>[^/]+)", "info"),
        ("GET", rf"/api/{repo}/tree/(?P<revision>[^/]+)", "tree"),
        ("POST", r"/(?:spaces/)?(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", "lfs_batch"),
        ("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})", "lfs_put"),
        ("HEAD", r"/(?P<prefix>spaces/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("GET", r"/(?P<prefix>spaces/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
        ("GET", r"/api/agent-harnesses", "harnesses"),
        ("GET", r"/api/jobs/hardware", "hardware"),
        ("POST", r"/api/jobs/(?P<namespace>[^/]+)", "run_job"),
        ("GET", r"/api/jobs/(?P<namespace>[^/]+)", "list_jobs"),
        ("GET", r"/api/jobs/(?P<namespace>[^/]+)/(?P<job>[^/]+)", "job"),
        ("POST", r"/api/jobs/(?P<namespace>[^/]+)/(?P<job>[^/]+)/cancel", "cancel_job"),
        ("GET", r"/api/jobs/(?P<namespace>[^/]+)/(?P<job>[^/]+)/logs", "logs"),
        ("GET", r"/api/spaces/hardware", "hardware"),
        ("GET", r"/api/spaces/(?P<job>[^/]+/[^/]+)/runtime", "runtime"),
        ("POST", r"/api/spaces/(?P<job>[^/]+/[^/]+)/pause", "pause"),
        ("GET", r"/api/spaces/(?P<job>[^/]+/[^/]+)/logs/(?:run|build)", "logs"),
    ]
    return [(method, re.compile(pattern), name) for method, pattern, name in table]


_ROUTES = _routes()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_GET  # noqa: N815 - the base class calls them so
    do_PUT = do_GET  # noqa: N815
    do_HEAD = do_GET  # noqa: N815

    def _serve(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        chunked = self.headers.get("transfer-encoding") == "chunked"
        self.body = self._chunks() if chunked else self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.hub.seen.append((self.command, path))
        fault = next((one for one in self.hub.faults if one.method == self.command and re.search(one.path, path)), None)
        if self.hub.down:
            fault = Fault(self.command, path, reaches=False, times=2)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0 and fault in self.hub.faults:
                self.hub.faults.remove(fault)
            if fault.reaches:
                self._answer(path)
            self._go_wrong(fault)
            return
        status, headers, body = self._answer(path)
        self._send(status, headers, body)

    def _go_wrong(self, fault: Fault) -> None:
        if fault.status is None:
            self.close_connection = True
            return
        self._send(fault.status, {}, fault.body)

    def _chunks(self) -> bytes:
        found = b""
        while size := int(self.rfile.readline().strip(), 16):
            found += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return found

    def _answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        try:
            return self._routed(path)
        except Refused as exc:
            if exc.status == 400 or "route" in exc.text:
                self.hub.refused.append(f"{self.command} {path}: {exc.text}")
            headers = {"X-Error-Message": exc.text} | ({"X-Error-Code": exc.code} if exc.code else {})
            return exc.status, headers, json.dumps({"error": exc.text}).encode()

    def _routed(self, path: str) -> tuple[int, dict[str, str], bytes]:
        for method, pattern, name in _ROUTES:
            said = pattern.fullmatch(path)
            if method == self.command and said is not None:
                if not path.startswith("/_lfs/"):  # as at the real hub, where such an address is signed
                    self._authorized()
                with self.hub.lock:
                    done: Any = getattr(self, f"_{name}")(**said.groupdict())
                return done if isinstance(done, tuple) else (200, {}, json.dumps(done).encode())
        raise Refused(404, "no such route")

    def _authorized(self) -> None:
        if self.headers.get("authorization") != f"Bearer {TOKEN}" or self.hub.revoked:
            raise Refused(401, "Invalid credentials in Authorization header")

    def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    # --- the routes

    def _json(self) -> Any:
        return json.loads(self.body)

    def _repo(self, kind: str, repo: str) -> Repo:
        found = self.hub.repos.get((kind, repo))
        if found is None:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return found

    def _whoami(self) -> Any:
        return {"type": "user", "name": USER, "orgs": [{"name": ORG}], "auth": {"type": "access_token"}}

    def _harnesses(self) -> Any:
        raise Refused(404, "the client asks for telemetry; it does without")

    def _create_repo(self) -> Any:
        return self.hub.create_repo(self._json())

    def _validate_yaml(self) -> Any:
        return {"errors": [], "warnings": []}

    def _preupload(self, kind: str, repo: str, revision: str) -> Any:
        return self.hub.preupload(self._repo(kind[:-1], repo), self._json())

    def _commit(self, kind: str, repo: str, revision: str) -> Any:
        if revision != "main":
            raise Refused(400, "one branch only")
        return self.hub.commit(self._repo(kind[:-1], repo), [json.loads(line) for line in self.body.splitlines()])

    def _info(self, kind: str, repo: str, revision: str) -> Any:
        oid, files = self._repo(kind[:-1], repo).at(revision)
        return {
            "id": repo,
            "sha": oid,
            "private": self._repo(kind[:-1], repo).private,
            "siblings": [{"rfilename": name} for name in files],
        }

    def _tree(self, kind: str, repo: str, revision: str) -> Any:
        return self.hub.tree(self._repo(kind[:-1], repo), revision)

    def _lfs_batch(self, repo: str) -> Any:
        objects = []
        for one in self._json()["objects"]:
            href = {"href": f"{self.hub.url}/_lfs/{one['oid']}"}
            there = one["oid"] in self.hub.lfs
            objects.append({**one} if there else {**one, "actions": {"upload": href}})
        return {"transfer": "basic", "objects": objects}

    def _lfs_put(self, oid: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "the content is not what its name says")
        self.hub.lfs[oid] = self.body
        return {}

    def _resolve(self, prefix: str | None, repo: str, revision: str, path: str) -> Any:
        found = self._repo("space" if prefix else "model", repo)
        oid, files = found.at(revision)
        if path not in files:
            raise Refused(404, "Entry not found", "EntryNotFound")
        text = files[path]
        etag = git_oid(text) if path.endswith(TEXTS) else hashlib.sha256(text).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Content-Length": str(len(text))}
        return 200, headers, text

    def _hardware(self) -> Any:
        return state.HARDWARE  # a test may change what there is

    def _run_job(self, namespace: str) -> Any:
        return self.hub.run_job(namespace, self._json())

    def _list_jobs(self, namespace: str) -> Any:
        return self.hub.jobs(namespace, parse_qs(urlsplit(self.path).query).get("label", []))

    def _job(self, namespace: str, job: str) -> Any:
        return self.hub.job(namespace, job)

    def _cancel_job(self, namespace: str, job: str) -> Any:
        self.hub.job(namespace, job)
        self.hub.machines[job].take_away("CANCELED")
        return {}

    def _runtime(self, job: str) -> Any:
        return self.hub.runtime(job)

    def _pause(self, job: str) -> Any:
        self.hub.runtime(job)
        self.hub.machines[job].take_away("PAUSED")
        return self.hub.runtime(job)

    def _logs(self, job: str, namespace: str = "") -> Any:
        lines = self.hub.machines[job].lines
        stamp = "2026-11-21T00:00:00.000Z"
        events = [f"data: {json.dumps({'timestamp': stamp, 'data': line})}\n\n" for line in lines]
        body = "".join(events).encode()
        headers = {"Content-Type": "text/event-stream"}
        if self.hub.cut_logs:  # a length that never comes
            headers["Content-Length"] = str(len(body) + 100)
            self.close_connection = True
        return 200, headers, body


@contextmanager
def serving(home: Path) -> Generator[Hub]:
    """A hub that answers; its machines end with the block."""
    hub = Hub(home=home)
    with listening(hub, type("Handler", (Handler,), {"hub": hub})):
        yield hub


@contextmanager
def listening(hub: Hub, handler: type[BaseHTTPRequestHandler]) -> Generator[None]:
    """Answer at an address of this machine, which the hub is told; its machines end with the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for machine in hub.machines.values():
            machine.end()
        server.shutdown()
        server.server_close()
        thread.join(120)
