# pyright: basic
"""The state of the stand-in for the fine-tuning services: whatever a test may arrange is a field of `State`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

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
class State:
    """Everything there is."""

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


def page(items: list[Any], query: Mapping[str, str], *, ids: bool = False) -> dict[str, Any]:
    after, limit = query.get("after"), int(query.get("limit", 20))
    start = next((index + 1 for index, one in enumerate(items) if one.get("id") == after), 0) if after else 0
    data = items[start : start + limit]
    page: dict[str, Any] = {"object": "list", "data": data, "has_more": start + limit < len(items)}
    if ids:
        page |= {"first_id": data[0]["id"] if data else "", "last_id": data[-1]["id"] if data else ""}
    return page
