"""Pure translation between the SDK's nouns and the wire's JSON. No I/O, no vendor import."""

from __future__ import annotations

import base64
import binascii
import contextlib
import csv
import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import DPO, RFT, SFT, JobSpec
from finetune_sdk.types import Checkpoint, Event, JobState, JobStatus, Level, Usage

from .graders import grader_json
from .options import JobOptions
from .rules import Rules
from .wire import Wire

Json = dict[str, Any]

TOKEN = "{token}"  # noqa: S105 - a placeholder in a plan, not a secret
"""Stands in a plan for what only a submission has: its token; `{train}` and `{validation}` stand for file ids."""
TOKEN_LENGTH = 15
TOKEN_KEY = "finetune_submission"  # noqa: S105 - a metadata key
METHOD_NAMES = {"sft": "supervised", "dpo": "dpo", "rft": "reinforcement"}

SPEC = "https://github.com/openai/openai-openapi/blob/f85dbe223d40e1a31cba812ab2d755c7e98a92a3/openapi.yaml"
READ_ON = "2026-11-20"


@dataclass(frozen=True, slots=True)
class Range:
    """What a hyperparameter may be: from `least` (excluded where `above`) to `most`."""

    least: float
    most: float
    whole: bool = False
    above: bool = False

    def refuses(self, value: float) -> bool:
        low = value <= self.least if self.above else value < self.least
        return low or value > self.most or (self.whole and value != int(value))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low = f"above {self.least:g}" if self.above else f"from {self.least:g}"
        return f"{kind} {low}" + (f" to {self.most:g}" if math.isfinite(self.most) else "")


RANGES: Mapping[str, Range] = {
    "hyperparameters.epochs": Range(1, 50, whole=True),
    "hyperparameters.batch_size": Range(1, 256, whole=True),
    "hyperparameters.learning_rate_multiplier": Range(0, math.inf, above=True),
    "method.beta": Range(0, 2, above=True),
    "method.compute_multiplier": Range(1e-5, 10, above=True),
    "method.eval_interval": Range(1, math.inf, whole=True),
    "method.eval_samples": Range(1, math.inf, whole=True),
}
"""Limits of the published schema (`SPEC`, read on `READ_ON`)."""

_WIRE_NAMES = {"epochs": "n_epochs", "batch_size": "batch_size", "learning_rate_multiplier": "learning_rate_multiplier"}
_METHOD_KNOBS = {
    "sft": (),
    "dpo": ("beta",),
    "rft": ("reasoning_effort", "compute_multiplier", "eval_interval", "eval_samples"),
}


# --- out ------------------------------------------------------------------------------------------------------------


def submission_token(key: str) -> str:
    """The mark every request of a submission carries: 15 characters of a-z and 2-7, the same for the same key."""
    digest = hashlib.blake2b(key.encode(), digest_size=9).digest()
    return base64.b32encode(digest).decode().lower().rstrip("=")[:TOKEN_LENGTH]


def out_of_range(spec: JobSpec) -> list[str]:
    """A sentence for every hyperparameter that the vendor would refuse."""
    values: dict[str, Any] = {f"hyperparameters.{name}": getattr(spec.hyperparameters, name) for name in _WIRE_NAMES}
    values |= {f"method.{name}": getattr(spec.method, name) for name in _METHOD_KNOBS.get(spec.method.kind, ())}
    return [
        f"`{name}` must be {RANGES[name]}, not {value:g}"
        for name, value in values.items()
        if name in RANGES and isinstance(value, int | float) and RANGES[name].refuses(value)
    ]


def create_body(spec: JobSpec, options: JobOptions, wire: Wire, rules: Rules, provider: str) -> Json:
    """The job as the wire wants it, with placeholders for what only the submission knows."""
    body: Json = {"model": spec.model_id, "training_file": "{train}"}
    if spec.data.validation is not None:
        body["validation_file"] = "{validation}"
    body["suffix"] = _suffix(spec, wire, provider)
    if spec.seed is not None:
        body["seed"] = spec.seed
    knobs = _hyperparameters(spec)
    if wire.method_object:
        body["method"] = _method(spec, options, rules, knobs, provider)
    elif knobs:
        body["hyperparameters"] = knobs
    if wire.metadata:
        body["metadata"] = {**spec.metadata, TOKEN_KEY: TOKEN}
    if "wandb" in spec.report_to and options.wandb is not None:
        body["integrations"] = [{"type": "wandb", "wandb": _no_nulls(options.wandb.model_dump(mode="json"))}]
    return body


def _suffix(spec: JobSpec, wire: Wire, provider: str) -> str:
    room = wire.suffix_max - TOKEN_LENGTH - 1
    if spec.suffix is None:
        return TOKEN
    if len(spec.suffix) > room:
        raise SpecError(
            f"[{provider}] `suffix` has {len(spec.suffix)} characters, at most {room} fit: the token that makes a "
            f"submission recognisable takes {TOKEN_LENGTH + 1} of {wire.suffix_max}"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", spec.suffix):
        raise SpecError(f"[{provider}] `suffix` may hold letters, digits, `-` and `_`; it is {spec.suffix!r}")
    return f"{spec.suffix}-{TOKEN}"


def _hyperparameters(spec: JobSpec) -> Json:
    hyper = spec.hyperparameters
    values = {wire: getattr(hyper, ours) for ours, wire in _WIRE_NAMES.items()}
    return {
        name: int(value) if name == "n_epochs" else value for name, value in values.items() if value != "auto"
    }  # left out = the vendor's "auto"


def _method(spec: JobSpec, options: JobOptions, rules: Rules, knobs: Json, provider: str) -> Json:
    method = spec.method
    assert isinstance(method, SFT | DPO | RFT), "check() refuses every other method"
    name = METHOD_NAMES[method.kind]
    own = {knob: value for knob in _METHOD_KNOBS[method.kind] if (value := getattr(method, knob)) != "auto"}
    part: Json = {"hyperparameters": {**knobs, **own}}
    if isinstance(method, RFT):
        part["grader"] = grader_json(method.grader, source_bytes_max=rules.python_grader_bytes, provider=provider)
        if options.response_format is not None:
            part["response_format"] = dict(options.response_format)
    if not part["hyperparameters"]:
        del part["hyperparameters"]
    return {"type": name, name: part}


def _no_nulls(values: Json) -> Json:
    return {key: value for key, value in values.items() if value not in (None, [], ())}


def fill(body: Mapping[str, Any], values: Mapping[str, str]) -> Json:
    """The body with its placeholders filled from `{"train": "file-abc", ...}`, in the fields that may hold one."""
    filled = dict(body)
    for field in ("training_file", "validation_file", "suffix"):
        if field in filled:
            filled[field] = _put_in(filled[field], values)
    if TOKEN_KEY in filled.get("metadata", {}):
        filled["metadata"] = {**filled["metadata"], TOKEN_KEY: values["token"]}
    return filled


def _put_in(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


# --- in -------------------------------------------------------------------------------------------------------------


def is_ours(job: Mapping[str, Any], *, token: str, files: frozenset[str]) -> bool:
    """Whether a listed job comes from the submission: by its fresh training file, else by the token it carries."""
    if job.get("training_file") in files:
        return True
    metadata: Mapping[str, Any] = job.get("metadata") or {}
    marks = [job.get(field) for field in ("user_provided_suffix", "suffix", "fine_tuned_model")]
    return any(isinstance(mark, str) and token in mark for mark in [*marks, metadata.get(TOKEN_KEY)])


def job_state(job: Mapping[str, Any], wire: Wire, metrics: Mapping[str, float] | None = None) -> JobState:
    """A job object as our observation. New words, nulls and empty error objects never raise."""
    word = str(job.get("status") or "")
    status = wire.words.get(word)
    model = job.get("fine_tuned_model") or None
    if status is JobStatus.SUCCEEDED and model is None:  # its name follows; until then there is nothing to hand out
        return JobState(status=JobStatus.RUNNING, raw_status=word)
    tokens = job.get("trained_tokens")
    return JobState.from_word(
        word,
        wire.words,
        error=failure(job) if status is JobStatus.FAILED else None,
        model=model if status is JobStatus.SUCCEEDED else None,
        usage=Usage(trained_tokens=tokens) if isinstance(tokens, int) else None,
        metrics=metrics,
    )


def failure(job: Mapping[str, Any]) -> str:
    """Why a job failed, in the vendor's words."""
    error: Mapping[str, Any] = job.get("error") or {}
    text = error.get("message") or "the vendor gave no reason"
    about = [str(error[key]) for key in ("code", "param") if error.get(key)]
    return f"{text} [{', '.join(about)}]" if about else str(text)


_LEVELS: Mapping[str, Level] = {
    "info": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "debug": "debug",
}
_METRICS = {
    "train_loss": "loss",
    "training_loss": "loss",
    "valid_loss": "eval_loss",
    "validation_loss": "eval_loss",
    "full_valid_loss": "eval_loss_full",
    "validation_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""The vendor's metric names that have one of ours; the others keep theirs."""
_PROGRESS = re.compile(r"^Step (\d+)/(\d+): training loss=([\d.]+)(?:, validation loss=([\d.]+))?")


def event(raw: Mapping[str, Any]) -> Event:
    """One event. Its cursor is the vendor's id; where a generation sends none, its time and a hash of its text."""
    message, created = str(raw.get("message") or ""), int(raw.get("created_at") or 0)
    data: Any = raw.get("data")
    values = _numbers(cast("Json", data)) if isinstance(data, dict) else {}
    step = values.pop("step", None)
    if progress := _PROGRESS.match(message):  # the only place where some servers put the numbers
        step = float(progress[1]) if step is None else step
        values = {"total_steps": float(progress[2]), "loss": float(progress[3]), **values}
        if progress[4]:
            values.setdefault("eval_loss", float(progress[4]))
    return Event(
        cursor=str(raw.get("id") or f"{created:012d}-{hashlib.sha256(message.encode()).hexdigest()[:12]}"),
        at=datetime.fromtimestamp(created, UTC),
        level=_LEVELS.get(str(raw.get("level")), "info"),
        message=message,
        step=None if step is None else int(step),
        metrics=values,
    )


def oldest_first(raw: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The vendor lists newest first; within one second only its order tells, so the list is turned, not sorted."""
    ascending = bool(raw) and int(raw[0].get("created_at") or 0) < int(raw[-1].get("created_at") or 0)
    return list(raw) if ascending else list(reversed(raw))


def _numbers(data: Mapping[str, Any]) -> dict[str, float]:
    return {
        _METRICS.get(name, name): float(value)
        for name, value in data.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def checkpoint(raw: Mapping[str, Any], ref: str) -> Checkpoint:
    """One checkpoint; `ref` is what leads back to its model."""
    metrics = _numbers(raw.get("metrics") or {})
    step = metrics.pop("step", 0.0)
    return Checkpoint(ref=ref, step=int(raw.get("step_number") or step), metrics=metrics)


def result_metrics(content: bytes) -> dict[str, float]:
    """The last value of each column of a job's results file, which is CSV or base64 of CSV."""
    with contextlib.suppress(binascii.Error, ValueError):  # plain CSV: a comma is not in base64's alphabet
        content = base64.b64decode(content, validate=True)
    last: dict[str, float] = {}
    for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"))):
        for name, value in row.items():
            if name and name != "step" and (number := _number(value)) is not None:
                last[_RESULTS.get(name, name)] = number
    return last


_RESULTS = {"valid_loss": "eval_loss", "validation_mean_token_accuracy": "valid_mean_token_accuracy"}


def _number(text: Any) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
