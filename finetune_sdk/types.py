"""The nouns that travel between providers, the store and the user: frozen, comparable, JSON-friendly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import JsonValue

Severity = Literal["error", "warning", "info"]
Level = Literal["debug", "info", "warning", "error"]


class JobStatus(StrEnum):
    """Where a job stands. A job only moves forward, except RUNNING <-> PAUSED; a terminal status is final.

    A provider's unknown word never raises: it keeps the last known status and becomes a warning event.
    """

    PREPARING = "preparing"
    """Known to us; the provider has not accepted it yet (environment being built, files being uploaded)."""
    VALIDATING = "validating"
    """The provider checks the files."""
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True when nothing will happen any more."""
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a job consumed so far. None = the provider does not say."""

    trained_tokens: int | None = None
    """Tokens that went through training, all epochs together."""
    train_s: float | None = None
    """Seconds of training, without queueing and loading."""
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """One observation of a job, as `Provider.poll` answers it."""

    status: JobStatus
    raw_status: str | None = None
    """The provider's own word, verbatim."""
    known: bool = True
    """False: nobody knows `raw_status`, so `status` is a guess; the store keeps the last status and warns."""
    held: bool = False
    """While PAUSED: True = it rests until somebody resumes it. False = the provider goes on by itself, unless the pause
    was asked for through the SDK: then it rests."""
    error: str | None = None
    """Why it failed; set whenever `status` is FAILED."""
    model: str | None = None
    """What to call the result by (an id at the vendor, a folder here); set whenever `status` is SUCCEEDED."""
    usage: Usage | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Final metrics, such as `train_loss`, `eval_loss`."""

    @classmethod
    def from_word(
        cls,
        word: str,
        words: Mapping[str, JobStatus],
        *,
        error: str | None = None,
        model: str | None = None,
        usage: Usage | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> JobState:
        """The observation behind a vendor's status word; `words` is the vendor's table. A new word never raises."""
        return cls(
            status=words.get(word, JobStatus.RUNNING),
            known=word in words,
            raw_status=word,
            error=error,
            model=model,
            usage=usage,
            metrics=metrics or {},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of a job's history. Cursors are unique within a job; the order is the provider's."""

    cursor: str
    at: datetime
    """UTC."""
    level: Level
    message: str
    step: int | None = None
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Numbers at that step: `loss`, `learning_rate`, `tokens_per_s`, `eta_s`, `total_steps`, `epoch`, `eval_loss`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A saved state of the model inside a job. `ref` is what `deploy` and `resume` accept."""

    ref: str
    step: int
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])


ArtifactKind = Literal[
    "adapter", "merged", "model", "onnx", "gguf", "hosted", "checkpoint", "tokenizer", "receipt", "predictions", "log"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """Something a finished job left behind."""

    kind: ArtifactKind
    uri: str
    """A local path (file or folder), or the vendor's model id."""
    sha256: str | None = None
    """Of the file; for a folder, of its sorted `<sha256>  <relative path>` lines. None = hosted elsewhere."""
    base_model: str | None = None
    chat_template_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to know about the input before anything is sent: never an exception, always with a place."""

    rule: str
    """Stable identifier, such as `row-no-assistant`; what `--allow-loss` and tables refer to."""
    severity: Severity
    message: str
    fix: str = ""
    """What to do about it, as an instruction."""
    file: str | None = None
    line: int | None = None
    """1-based."""
    path: str | None = None
    """JSON path inside the row, such as `messages[2].content`."""
    count: int = 1
    """How many places share this finding; file, line and path name the first."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        head = ": ".join(part for part in (place, self.path or "") if part)
        times = f" ({self.count} times)" if self.count > 1 else ""
        return f"{head + ': ' if head else ''}{self.message}{times}. {self.fix}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job will cost, before it is sent. `usd` None = unknown, which is never the same as 0."""

    usd: float | None
    basis: str
    """How it was reckoned, or why it is unknown."""
    tokens: int | None = None
    tokens_exact: bool = False
    """False: `tokens` is an estimate, `basis` states its error bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """One dataset a plan uses, with the evidence for how it was read."""

    role: Literal["train", "validation", "test"]
    source: str
    """Where the rows come from, for a person to read."""
    format: str
    rows: int
    sha256: str
    """Content hash of the canonical rows in order (not of the container)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A tuned model that answers OpenAI's chat API at `base_url` under the name `model`."""

    id: str
    provider: str
    model: str
    base_url: str
    status: Literal["starting", "ready", "failed", "stopped"]
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None = no key is needed. Never the key itself."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A vendor's verified webhook about jobs."""

    id: str
    """The delivery's own id: the same for every attempt to deliver it."""
    refs: tuple[str, ...]
    """The references of the jobs it is about, of those that were asked for."""


def event_json(event: Event) -> dict[str, JsonValue]:
    """An event as the JSON object that `--format json` prints."""
    return {
        "cursor": event.cursor,
        "at": event.at.isoformat(),
        "level": event.level,
        "message": event.message,
        "step": event.step,
        "metrics": dict(event.metrics),
    }
