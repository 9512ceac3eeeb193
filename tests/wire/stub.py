# pyright: basic
"""A stateful stand-in for the fine-tuning services, on loopback: real HTTP, as strict as the published contracts.

It knows OpenAI's wire and both generations of Azure's. Every request is recorded and, where the published documents
are at hand, checked against them; `Service.violations` must stay empty.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from wire import contract

KEY = "sk-test-0123456789abcdefghijklmnop"
TERMINAL = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Dialect:
    """What one service's wire looks like."""

    name: str
    root: str
    created: int = 200
    words: Mapping[str, str] = field(default_factory=dict[str, str])
    """The service's words where they are not OpenAI's."""
    metadata: bool = True
    events_have_ids: bool = True


DIALECTS = {
    one.name: one
    for one in (
        Dialect("openai", "/v1"),
        Dialect("azure-v1", "/openai/v1"),
        Dialect(
            "azure-2024-10-21",
            "/openai",
            created=201,
            words={"validating_files": "created", "queued": "pending"},
            metadata=False,
            events_have_ids=False,
        ),
    )
}


@dataclass(frozen=True)
class Request:
    """What arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    form: Mapping[str, Any] | None


class Refused(Exception):
    """The service says no."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}


@dataclass
class Service:
    """The state and the behaviour. Everything a test may arrange is a field."""

    dialect: Dialect = DIALECTS["openai"]
    script: tuple[str, ...] = ("validating_files", "queued", "running", "succeeded")
    """The words a job goes through, one per look at it."""
    list_lag: int = 0
    """How many listings a new job is missing from."""
    file_words: tuple[str, ...] = ("processed",)
    """The words a file goes through, one per look at it."""
    failure: Mapping[str, Any] = field(
        default_factory=lambda: {
            "code": "invalid_training_file",
            "message": "The job failed due to an invalid training file.",
            "param": "training_file",
        }
    )
    shutdown: Mapping[str, str] = field(default_factory=dict[str, str])
    says: Callable[[str, list[dict[str, Any]]], str | None] = lambda model, _messages: f"answer of {model}"
    """What a model answers to messages; None = the content filter stops it."""
    chat_quota: int | None = None
    """How many more chats the account has paid for; None = no end."""
    chats_refused: int = 0
    hidden_models: frozenset[str] = frozenset()
    refuse_create: Refused | None = None
    drops_metadata: bool = False
    keep_content: bool = True
    clock: int = 1_795_000_000
    """The server's clock, seconds; one per created thing."""
    scripts: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Scripts of their own, by base model."""
    failures: list[str] = field(default_factory=list[str])
    """What goes wrong next: "auth", "throttled", "unreachable", "lost answer" (of a creation), "unknown word"."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    content: dict[str, bytes] = field(default_factory=dict[str, bytes])
    takes: frozenset[str] | None = None
    """The fields a creation may have, where the server refuses others; None = those of the contract."""
    one_at_a_time: bool = False
    """Another job is refused with 409 while one is going on."""
    missing: frozenset[str] = frozenset()
    """Routes, by name, that answer 500: what a proxy does not know."""
    copies: dict[str, Any] = field(default_factory=dict[str, Any])
    """Checkpoints copied to other accounts, by id."""
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    requests: list[Request] = field(default_factory=list[Request])
    violations: list[str] = field(default_factory=list[str])
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _scripts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    _lag: dict[str, int] = field(default_factory=dict[str, int])

    # --- answering

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

    def place(self, job_id: str) -> None:
        """Let a job that a test put into `jobs` itself stay as it is, and be listed."""
        self._lag[job_id], self._scripts[job_id] = 0, []

    def named(self, kind: str) -> list[dict[str, Any]]:
        """The jobs in a status, oldest first."""
        return [job for job in self.jobs.values() if job["status"] == kind]

    @property
    def alive(self) -> list[dict[str, Any]]:
        """The jobs that were not cancelled."""
        return [job for job in self.jobs.values() if job["status"] != "cancelled"]

    def _now(self) -> int:
        self.clock += 1
        return self.clock

    # --- files

    def _create_file(self, request: Request) -> tuple[int, Any]:
        form = request.form or {}
        if "file" not in form:
            raise Refused(400, "'file' is a required property", param="file")
        return self.dialect.created, self._store_file(form["file"][0], form["file"][1], form.get("purpose", ""))

    def _store_file(self, name: str, data: bytes | int, purpose: str) -> dict[str, Any]:
        file_id = f"file-{next(self._ids):08d}"
        size = data if isinstance(data, int) else len(data)
        if not isinstance(data, int):
            self.content[file_id] = data
        self.files[file_id] = {
            "id": file_id, "object": "file", "bytes": size, "created_at": self._now(), "filename": name,
            "purpose": purpose, "status": self.file_words[0],
        }  # fmt: skip
        self._scripts[file_id] = list(self.file_words[1:])
        return self.files[file_id]

    def _import_file(self, request: Request) -> tuple[int, Any]:
        return self.dialect.created, self._store_file(request.body["filename"], 1000, request.body["purpose"])

    def _list_files(self, request: Request) -> tuple[int, Any]:
        return 200, _page(list(reversed(self.files.values())), request.query, ids=True)

    def _get_file(self, _request: Request, file_id: str) -> tuple[int, Any]:
        file = self._file(file_id)
        shown = dict(file)
        if self._scripts.get(file_id):
            file["status"] = self._scripts[file_id].pop(0)
        return 200, shown

    def _delete_file(self, _request: Request, file_id: str) -> tuple[int, Any]:
        self._file(file_id)
        del self.files[file_id]
        return 200, {"id": file_id, "object": "file", "deleted": True}

    def _file_content(self, _request: Request, file_id: str) -> tuple[int, Any]:
        self._file(file_id)
        return 200, self.content.get(file_id, b"")

    def _file(self, file_id: str) -> dict[str, Any]:
        if file_id not in self.files:
            raise Refused(404, f"No such File object: {file_id}", param="id")
        return self.files[file_id]

    def _start_upload(self, request: Request) -> tuple[int, Any]:
        upload_id = f"upload_{next(self._ids):08d}"
        self.uploads[upload_id] = {**request.body, "parts": {}}
        return 200, self._upload(upload_id, "pending", None)

    def _upload(self, upload_id: str, status: str, file: Any) -> dict[str, Any]:
        one = self.uploads[upload_id]
        return {
            "id": upload_id, "object": "upload", "bytes": one["bytes"], "created_at": self.clock,
            "filename": one["filename"], "purpose": one["purpose"], "status": status, "expires_at": self.clock + 3600,
            "file": file,
        }  # fmt: skip

    def _add_part(self, request: Request, upload_id: str) -> tuple[int, Any]:
        part_id = f"part_{next(self._ids):08d}"
        _, data = (request.form or {})["data"]
        self.uploads[upload_id]["parts"][part_id] = data if isinstance(data, int) else len(data)
        return 200, {"id": part_id, "object": "upload.part", "created_at": self.clock, "upload_id": upload_id}

    def _complete_upload(self, request: Request, upload_id: str) -> tuple[int, Any]:
        one = self.uploads[upload_id]
        size = sum(one["parts"][part] for part in request.body["part_ids"])
        if size != one["bytes"]:
            raise Refused(400, f"Upload has {size} bytes, {one['bytes']} were announced")
        file = self._store_file(one["filename"], size, one["purpose"])
        return 200, self._upload(upload_id, "completed", file)

    # --- jobs

    def _create_job(self, request: Request) -> tuple[int, Any]:
        body = request.body
        if self.refuse_create is not None:
            raise self.refuse_create
        if self.takes is not None and not body.keys() <= self.takes:
            raise Refused(400, f"unknown fields: {sorted(body.keys() - self.takes)}")
        if self.one_at_a_time and any(job["status"] not in TERMINAL for job in self.jobs.values()):
            raise Refused(409, "A training job is already running")
        for role in ("training_file", "validation_file"):
            if body.get(role) and body[role] not in self.files:
                raise Refused(400, f"invalid {role}: {body[role]}", code="invalid_file", param=role)
            if body.get(role) and self.files[body[role]]["status"] not in ("processed", "uploaded"):
                raise Refused(400, "File not ready", param=role)
        job_id, script = f"ftjob-{next(self._ids):08d}", self.scripts.get(body["model"], self.script)
        job = {
            "id": job_id, "object": "fine_tuning.job", "created_at": self._now(), "model": body["model"],
            "training_file": body["training_file"], "validation_file": body.get("validation_file"),
            "status": script[0], "fine_tuned_model": None, "finished_at": None, "organization_id": "org-test",
            "hyperparameters": {"n_epochs": "auto"}, "result_files": [], "seed": body.get("seed", 42), "error": None,
            "trained_tokens": None, "metadata": body.get("metadata") or {}, "method": body.get("method"),
            "user_provided_suffix": body.get("suffix"), "integrations": body.get("integrations"),
        }  # fmt: skip
        if self.drops_metadata:
            job["metadata"] = {}
        self.jobs[job_id], self.events[job_id] = job, []
        self._scripts[job_id], self._lag[job_id] = list(script[1:]), self.list_lag
        if not self._rows_are_json(body["training_file"]):
            self._scripts[job_id] = ["failed"]
        self._say(job_id, "Created fine-tuning job")
        return self.dialect.created, self._shown(job)

    def _rows_are_json(self, file_id: str) -> bool:
        lines = self.content.get(file_id, b"").removeprefix(b"\xef\xbb\xbf").splitlines()
        if file_id in self.content and len(lines) < 10:
            return False
        try:
            return all(isinstance(json.loads(line), dict) for line in lines)
        except ValueError:
            return False

    def _shown(self, job: Mapping[str, Any]) -> dict[str, Any]:
        shown = {**job, "status": self.dialect.words.get(job["status"], job["status"])}
        if not self.dialect.metadata:
            for key in ("metadata", "method", "user_provided_suffix", "integrations", "organization_id"):
                del shown[key]
            shown = {key: value for key, value in shown.items() if value is not None}
            shown["hyperparameters"] = {}
        return shown

    def _get_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        job = self._job(job_id)
        shown = self._shown(job)
        self.advance(job)
        return 200, shown

    def _job(self, job_id: str) -> dict[str, Any]:
        if job_id not in self.jobs:
            raise Refused(404, f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tune_id")
        return self.jobs[job_id]

    def advance(self, job: dict[str, Any]) -> None:
        """One step along the job's script."""
        script = self._scripts[job["id"]]
        if job["status"] in TERMINAL or (job["status"] == "paused" and not script) or not script:
            return
        job["status"] = script.pop(0)
        self._say(job["id"], f"The job is {job['status']}")
        if job["status"] == "running":
            data = {"step": 1, "train_loss": 1.5, "train_mean_token_accuracy": 0.5}
            self._say(job["id"], "Step 1/3: training loss=1.50", kind="metrics", data=data)
        if job["status"] == "failed":
            job.update(error=dict(self.failure), finished_at=self._now())
        if job["status"] == "succeeded":
            suffix = job["user_provided_suffix"] or ""
            csv = b"step,train_loss,valid_loss\n1,1.5,1.7\n2,0.9,\n3,0.5,0.8\n"
            result = self._store_file("results.csv", base64.b64encode(csv), "fine-tune-results")
            job.update(
                fine_tuned_model=f"ft:{job['model']}:test:{suffix}:abc",
                finished_at=self._now(),
                trained_tokens=1234,
                result_files=[result["id"]],
            )

    def _say(self, job_id: str, message: str, *, kind: str = "message", data: Any = None) -> None:
        one = {
            "object": "fine_tuning.job.event", "id": f"ftevent-{next(self._ids):08d}", "created_at": self.clock,
            "level": "info", "message": message, "type": kind, "data": data or {},
        }  # fmt: skip
        if not self.dialect.events_have_ids:
            del one["id"]
        self.events[job_id].append(one)

    def _list_jobs(self, request: Request) -> tuple[int, Any]:
        shown: list[Any] = []
        for job in reversed(self.jobs.values()):
            if self._lag[job["id"]] > 0:
                self._lag[job["id"]] -= 1
            else:
                shown.append(self._shown(job))
        return 200, _page(shown, request.query)

    def _cancel_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "cancelled", ("validating_files", "queued", "running", "paused"))

    def _pause_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "paused", ("running",))

    def _resume_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        return self._steer(job_id, "queued", ("paused",))

    def _steer(self, job_id: str, status: str, allowed: tuple[str, ...]) -> tuple[int, Any]:
        job = self._job(job_id)
        if job["status"] not in allowed:
            raise Refused(400, f"Job {job_id} is {job['status']}")
        if status == "queued":
            self._scripts[job_id] = list(self.scripts.get(job["model"], self.script)[-2:])
        elif status == "paused":
            self._scripts[job_id] = []
        job["status"] = status
        self._say(job_id, f"The job is {status}")
        return 200, self._shown(job)

    def _delete_job(self, _request: Request, job_id: str) -> tuple[int, Any]:
        self._job(job_id)
        del self.jobs[job_id]
        return 204, b""

    def _list_events(self, request: Request, job_id: str) -> tuple[int, Any]:
        self._job(job_id)
        return 200, _page(list(reversed(self.events[job_id])), request.query)

    def _list_checkpoints(self, request: Request, job_id: str) -> tuple[int, Any]:
        job = self._job(job_id)
        steps = (20, 10) if job["status"] == "succeeded" else ()
        shown = [
            {
                "id": f"ftckpt-{job_id}-{step}", "object": "fine_tuning.job.checkpoint", "created_at": self.clock,
                "fine_tuned_model_checkpoint": f"{job['fine_tuned_model']}:ckpt-step-{step}", "step_number": step,
                "fine_tuning_job_id": job_id, "metrics": {"step": step, "train_loss": 1 / step},
            }
            for step in steps
        ]  # fmt: skip
        return 200, _page(shown, request.query, ids=True)

    def _copy_checkpoint(self, request: Request, job_id: str, checkpoint: str) -> tuple[int, Any]:
        self._job(job_id)
        if request.headers.get("aoai-copy-ft-checkpoints") != "preview":
            raise Refused(404, "copying is a preview")
        if request.method == "POST":
            self.copies[checkpoint] = request.body
        if checkpoint not in self.copies:
            raise Refused(404, f"no copy of {checkpoint}")
        return 200, {"checkpointedModelName": checkpoint, "status": "Completed"}

    # --- the rest

    def _tuned_models(self) -> list[str]:
        return [job["fine_tuned_model"] for job in self.jobs.values() if job["fine_tuned_model"]]

    def _list_models(self, _request: Request) -> tuple[int, Any]:
        names = ["gpt-4o", *(name for name in self._tuned_models() if name not in self.hidden_models)]
        shown = [{"id": name, "object": "model", "created": 1, "owned_by": "system"} for name in names]
        return 200, {"object": "list", "data": shown}

    def _delete_model(self, _request: Request, model: str) -> tuple[int, Any]:
        if model in self.hidden_models or model not in self._tuned_models():
            raise Refused(404, f"The model '{model}' does not exist", code="model_not_found", param="model")
        self.hidden_models |= {model}
        return 200, {"id": model, "object": "model", "deleted": True}

    def _get_model(self, _request: Request, model: str) -> tuple[int, Any]:
        if model in self.hidden_models:
            raise Refused(404, f"The model '{model}' does not exist", code="model_not_found", param="model")
        ends = self.shutdown.get(model)
        return 200, {"id": model, "object": "model", "created": 1, "owned_by": "system", "shutdown_date": ends}

    def _validate_grader(self, request: Request) -> tuple[int, Any]:
        if "nonsense" in json.dumps(request.body):
            raise Refused(400, "Invalid grader: unknown template", param="grader")
        return 200, {"grader": request.body["grader"]}

    def _run_grader(self, request: Request) -> tuple[int, Any]:
        grader, sample = request.body["grader"], request.body["model_sample"]
        wanted = str(request.body["item"].get("answer"))
        failed = "raise" in str(grader.get("source"))
        kinds = "formula_parse sample_parse truncated_observation other python_grader_server python_grader_runtime"
        kinds += " model_grader_server model_grader_refusal model_grader_parse invalid_variable unresponsive_reward"
        flags = [f"{kind}_error" for kind in kinds.split()]
        errors = {
            **dict.fromkeys(flags, False), "python_grader_runtime_error": failed,
            "python_grader_server_error_type": None, "python_grader_runtime_error_details": None,
            "model_grader_server_error_details": None,
        }  # fmt: skip
        meta = {"name": grader["name"], "type": grader["type"], "errors": errors, "execution_time": 0.1, "scores": {},
                "token_usage": None, "sampled_model_name": None}  # fmt: skip
        return 200, {
            "reward": 1.0 if sample == wanted else 0.0,
            "metadata": meta,
            "sub_rewards": {},
            "model_grader_token_usage_per_model": {},
        }

    def _chat(self, request: Request, _deployment: str = "") -> tuple[int, Any]:
        if self.chat_quota is not None:
            self.chat_quota -= 1
            if self.chat_quota < 0:
                self.chats_refused += 1
                raise Refused(429, "You exceeded your current quota", code="insufficient_quota")
        text = self.says(request.body["model"], request.body["messages"])
        if text is None:
            raise Refused(400, "The prompt was filtered", code="content_filter")
        message = {"role": "assistant", "content": text, "refusal": None}
        return 200, {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request.body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
        }  # fmt: skip


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
    (r"/chat/completions", "POST", "chat"),
    (r"/deployments/([^/]+)/chat/completions", "POST", "chat"),
)


def _page(items: list[Any], query: Mapping[str, str], *, ids: bool = False) -> dict[str, Any]:
    after, limit = query.get("after"), int(query.get("limit", 20))
    start = next((index + 1 for index, one in enumerate(items) if one.get("id") == after), 0) if after else 0
    data = items[start : start + limit]
    page: dict[str, Any] = {"object": "list", "data": data, "has_more": start + limit < len(items)}
    if ids:
        page |= {"first_id": data[0]["id"] if data else "", "last_id": data[-1]["id"] if data else ""}
    return page


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
