# pyright: basic
"""A Hugging Face Hub on loopback: repositories, Jobs and Spaces, stricter than the real one.

Ours. Routes, bodies and answers are what huggingface_hub 2.4 sends and reads, and for Jobs what the Hub's OpenAPI
description says (fields, patterns, limits). An unknown field, a missing namespace or a route nobody knows is a 4xx and
noted in `refused`. Jobs and Spaces really run (`hub_machines.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from wire.hub_machines import Machine, command_of

USER, ORG, TOKEN = "alice", "acme", "hf_" + "LoopbackHubTokenOfAlice0123456789"
TEXTS = (".json", ".jsonl", ".md", ".txt", ".py", ".lock", ".log", ".jinja", "Dockerfile", ".gitattributes")
_SHA = re.compile(r"^[0-9a-f]{40}$")
_LABEL = re.compile(r"^[a-zA-Z0-9._-]{0,100}$")
_VARIABLE = re.compile(r"^[a-zA-Z][_a-zA-Z0-9]+$")
_JOB_FIELDS = {
    *("command", "arguments", "environment", "secrets", "flavor", "timeoutSeconds", "attempts", "labels"),
    *("dockerImage", "spaceId", "arch", "volumes"),
}
_REPO_FIELDS = {
    "name",
    "organization",
    "visibility",
    "type",
    "sdk",
    "hardware",
    "sleepTimeSeconds",
    "secrets",
    "variables",
}


def _hardware(name: str, usd_per_minute: float, gpu: str | None) -> dict[str, Any]:
    accelerator = {"type": "gpu", "model": gpu, "quantity": "1", "vram": "16 GB", "manufacturer": "Nvidia"}
    return {
        "name": name,
        "prettyName": name.replace("-", " ").title(),
        "cpu": "2 vCPU",
        "ram": "16 GB",
        "ephemeralStorage": "20 GB",
        "accelerator": accelerator if gpu else None,
        "unitCostMicroUSD": round(usd_per_minute * 1e6),
        "unitCostUSD": usd_per_minute,
        "unitLabel": "minute",
    }


HARDWARE = [
    _hardware("cpu-basic", 0.000167, None),
    _hardware("cpu-upgrade", 0.0005, None),
    _hardware("t4-small", 0.00667, "T4"),
]


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.status, self.text, self.code = status, text, code


@dataclass
class Fault:
    """What happens to the next requests that fit, as often as `times` says."""

    method: str
    path: str
    """Regular expression, searched in the path."""
    reaches: bool
    """Whether the hub acts before the answer goes wrong."""
    status: int | None = None
    """None = it hangs up without an answer."""
    times: int = 1
    body: bytes = b'{"error": "a fault"}'


@dataclass
class Repo:
    """A git repository with one branch."""

    type: str
    id: str
    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes]) -> str:
        oid = hashlib.sha1(f"{self.id}{len(self.commits)}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]]:
        if revision == "main":
            return self.commits[-1]
        for oid, files in self.commits:
            if oid == revision:
                return oid, files
        raise Refused(404, "no such revision", "RevisionNotFound")


@dataclass
class Hub:
    """Everything there is. Tests look at it and set `faults`, `hold` and `revoked`."""

    home: Path
    url: str = ""
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    lfs: dict[str, bytes] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a Job or a Space was created with, by id."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    revoked: bool = False
    down: bool = False
    hold: bool = False
    """New Jobs stay SCHEDULING, new Spaces BUILDING, until `go`."""
    cut_logs: bool = False
    stand_in: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def posted(self, pattern: str) -> int:
        return sum(1 for method, path in self.seen if method == "POST" and re.search(pattern, path))

    def go(self) -> None:
        self.hold = False
        for machine in list(self.machines.values()):
            machine.start()

    def files(self, repo: str, kind: str = "model") -> dict[str, bytes]:
        return self.repos[kind, repo].commits[-1][1]

    def everything_stored(self) -> bytes:
        """Every byte of every commit, and every setting that is no secret: where a token must not be."""
        parts = [text for repo in self.repos.values() for _, files in repo.commits for text in files.values()]
        shown = [{k: v for k, v in body.items() if k != "secrets"} for body in self.bodies.values()]
        printed = ["".join(machine.lines) for machine in self.machines.values()]
        return b"\n".join([*parts, json.dumps(shown).encode(), *(text.encode() for text in printed)])

    # --- repositories

    def create_repo(self, body: dict[str, Any]) -> dict[str, Any]:
        unknown = set(body) - _REPO_FIELDS
        kind = body.get("type", "model")
        if unknown or kind not in ("model", "dataset", "space"):
            raise Refused(400, f"unknown fields {sorted(unknown)} or type {kind}")
        if not body.get("organization"):
            raise Refused(400, "the namespace is missing")
        if body["organization"] not in (USER, ORG):
            raise Refused(403, f"you may not create repositories in {body['organization']}")
        repo = f"{body['organization']}/{body['name']}"
        if not re.fullmatch(r"[\w.-]{1,96}", body["name"]):
            raise Refused(400, "bad name")
        if (kind, repo) in self.repos:
            raise Refused(409, "You already created this repo")
        made = self.repos[kind, repo] = Repo(kind, repo, private=body.get("visibility") == "private")
        made.commit({".gitattributes": b"*.safetensors filter=lfs\n"})
        if kind == "space":
            self._space(repo, body)
        prefix = "" if kind == "model" else f"{kind}s/"
        return {"url": f"{self.url}/{prefix}{repo}", "name": repo, "id": uuid.uuid4().hex[:24]}

    def preupload(self, repo: Repo, body: dict[str, Any]) -> dict[str, Any]:
        files = repo.commits[-1][1]
        answers = []
        for one in body["files"]:
            if set(one) - {"path", "sample", "size", "sha", "oid"}:
                raise Refused(400, f"unknown fields in {sorted(one)}")
            there = files.get(one["path"])
            oid = None if there is None else _git_oid(there)
            mode = "regular" if one["path"].endswith(TEXTS) and one["size"] < 10_000_000 else "lfs"
            if mode == "lfs" and there is not None:
                oid = hashlib.sha256(there).hexdigest()
            answers.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return {"files": answers}

    def commit(self, repo: Repo, lines: list[dict[str, Any]]) -> dict[str, Any]:
        files = dict(repo.commits[-1][1])
        header, *rest = lines
        if header["key"] != "header" or set(header["value"]) - {"summary", "description", "parentCommit"}:
            raise Refused(400, "the first line is the header")
        parent = header["value"].get("parentCommit")
        if parent is not None and parent != repo.head:
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        for line in rest:
            value = line["value"]
            if line["key"] == "file" and value["encoding"] == "base64":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile" and value["algo"] == "sha256":
                if value["oid"] not in self.lfs:
                    raise Refused(400, f"{value['path']}: its content was never uploaded")
                files[value["path"]] = self.lfs[value["oid"]]
            else:
                raise Refused(400, f"unknown operation {line['key']}")
        oid = repo.commit(files)
        if repo.type == "space":
            self._build(repo)
        return {"success": True, "commitUrl": f"{self.url}/{repo.id}/commit/{oid}", "commitOid": oid, "hookOutput": ""}

    def tree(self, repo: Repo, revision: str) -> list[dict[str, Any]]:
        _, files = repo.at(revision)
        answers = []
        for path, text in files.items():
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(text), "oid": _git_oid(text)}
            if not path.endswith(TEXTS):
                entry["lfs"] = {"oid": hashlib.sha256(text).hexdigest(), "size": len(text), "pointerSize": 134}
            answers.append(entry)
        return answers

    # --- jobs

    def run_job(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        _check_job(body)
        job = uuid.uuid4().hex[:24]
        self.bodies[job] = {**body, "namespace": namespace}
        self.machines[job] = Machine(
            id=job,
            command=body["command"] + body.get("arguments", []),
            environment={**body["environment"], "JOB_ID": job},
            secrets=body.get("secrets") or {},
            home=self.home / job,
            stages=("SCHEDULING", "RUNNING", "COMPLETED", "ERROR"),
            stand_in=self.stand_in,
            timeout_s=body.get("timeoutSeconds") or 1800,
        )
        if not self.hold:
            self.machines[job].start()
        return self.job(namespace, job)

    def job(self, namespace: str, job: str) -> dict[str, Any]:
        body, machine = self.bodies.get(job), self.machines.get(job)
        if body is None or machine is None or body.get("namespace") != namespace:
            raise Refused(404, "Job not found")
        owner = {"id": "0" * 24, "name": namespace, "type": "user", "avatarUrl": ""}
        return {
            "id": job,
            "createdAt": machine.created.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "dockerImage": body["dockerImage"],
            "environment": body["environment"],
            "command": body["command"],
            "arguments": body.get("arguments", []),
            "flavor": body["flavor"],
            "labels": body.get("labels", {}),
            "secrets": sorted(body.get("secrets") or {}),
            "createdBy": {"id": "0" * 24, "name": USER},
            "type": "job",
            "owner": owner,
            "status": {"stage": machine.stage, "message": machine.message}
            | ({"cancelReason": machine.cancel_reason} if machine.cancel_reason else {}),
        }

    def jobs(self, namespace: str, wanted: list[str]) -> list[dict[str, Any]]:
        found = [self.job(namespace, job) for job, body in self.bodies.items() if body.get("namespace") == namespace]
        pairs = [one.partition("=") for one in wanted]
        return [one for one in found if all(one["labels"].get(key) == value for key, _, value in pairs)]

    # --- spaces

    def _space(self, repo: str, body: dict[str, Any]) -> None:
        if body.get("sdk") != "docker" or body.get("hardware") not in {one["name"] for one in HARDWARE}:
            raise Refused(400, "a docker Space on a machine that there is")
        for name in ("secrets", "variables"):
            for one in body.get(name) or []:
                if set(one) - {"key", "value", "description"} or not _VARIABLE.match(one["key"]):
                    raise Refused(400, f"bad {name}")
        self.bodies[repo] = body

    def _build(self, repo: Repo) -> None:
        files = repo.commits[-1][1]
        if "Dockerfile" not in files or repo.id in self.machines:
            return
        body = self.bodies[repo.id]
        given = {one["key"]: one["value"] for one in body.get("variables") or []}
        machine = self.machines[repo.id] = Machine(
            id=repo.id,
            command=[],
            environment={**given, "FTSDK_PORT": "0", "SPACE_ID": repo.id},  # 7860 of many containers is one port here
            secrets={one["key"]: one["value"] for one in body.get("secrets") or []},
            home=self.home / repo.id.replace("/", "-"),
            stages=("BUILDING", "RUNNING", "RUNTIME_ERROR", "RUNTIME_ERROR"),
            stand_in=self.stand_in,
        )
        try:
            machine.command = command_of(files["README.md"].decode(), files["Dockerfile"].decode())
        except (KeyError, ValueError) as exc:
            machine.stage = "BUILD_ERROR"
            machine.lines.append(f"build: {exc}\n")
            return
        if not self.hold:
            machine.start()

    def runtime(self, space: str) -> dict[str, Any]:
        if space not in self.bodies:
            raise Refused(404, "Space not found", "RepoNotFound")
        machine = self.machines.get(space)
        flavor = self.bodies[space]["hardware"]
        return {
            "stage": "NO_APP_FILE" if machine is None else machine.stage,
            "hardware": {"current": flavor, "requested": flavor},
            "gcTimeout": self.bodies[space].get("sleepTimeSeconds"),
            "replicas": {"requested": 1},
        }


def _check_job(body: dict[str, Any]) -> None:
    unknown = set(body) - _JOB_FIELDS
    if unknown:
        raise Refused(400, f"unknown fields: {sorted(unknown)}")
    if body.get("flavor") not in {one["name"] for one in HARDWARE}:
        raise Refused(400, f"unknown flavor {body.get('flavor')}")
    if not body.get("dockerImage") or not body.get("command") or not all(body["command"]):
        raise Refused(400, "image and command are required, and no word may be empty")
    if any("\n" in word for word in body["command"]):
        raise Refused(400, "a command of several lines arrives flattened")
    if not all(_VARIABLE.match(name) and isinstance(value, str) for name, value in body["environment"].items()):
        raise Refused(400, "bad environment")
    labels = body.get("labels", {})
    if not all(name and _LABEL.match(name) and _LABEL.match(value) for name, value in labels.items()):
        raise Refused(400, "bad labels")
    if not isinstance(body.get("timeoutSeconds"), int) or body["timeoutSeconds"] <= 0:
        raise Refused(400, "say how long it may run: the default is thirty minutes")


def _git_oid(text: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()


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


class _Handler(BaseHTTPRequestHandler):
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
        etag = _git_oid(text) if path.endswith(TEXTS) else hashlib.sha256(text).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": oid, "Content-Length": str(len(text))}
        return 200, headers, text

    def _hardware(self) -> Any:
        return HARDWARE

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
    with listening(hub, type("Handler", (_Handler,), {"hub": hub})):
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
        thread.join(10)
