# pyright: basic
"""A Hugging Face Hub on loopback: repositories, Jobs and Spaces, stricter than the real one.

Ours. Routes, bodies and answers are what huggingface_hub 2.4 sends and reads, and for Jobs what the Hub's OpenAPI
description says (fields, patterns, limits). An unknown field, a missing namespace or a route nobody knows is a 4xx and
noted in `refused`. Jobs and Spaces really run (`hub_machines.py`); `hub_routes.py` is how it is reached.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire.hub_machines import Machine, command_of

USER, ORG, TOKEN = "alice", "acme", "hf_" + "LoopbackHubTokenOfAlice0123456789"
TEXTS = (".json", ".jsonl", ".md", ".txt", ".py", ".lock", ".log", ".jinja", "Dockerfile", ".gitattributes")
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
            oid = None if there is None else git_oid(there)
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
            entry: dict[str, Any] = {"type": "file", "path": path, "size": len(text), "oid": git_oid(text)}
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


def git_oid(text: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
