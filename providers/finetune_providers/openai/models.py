"""What is known about base models (methods, end dates, prices): rows of the provider's TOML file and the user's."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from finetune_sdk.errors import SpecError
from finetune_sdk.types import Finding, Severity

SOON_DAYS = 120
"""A base model that ends within so many days is worth a warning: the tuned model ends with it."""

_SNAPSHOT = re.compile(r"(?:-\d{4}-\d{2}-\d{2})?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """One row. None = not known, which is never the same as "no limit" or "free"."""

    id: str
    methods: frozenset[str] | None = None
    images: bool | None = None
    ends: date | None = None
    """Last day of the model and of everything tuned from it."""
    training_ends: date | None = None
    """Last day on which a job may be created; None = as `ends`."""
    max_tokens: int | None = None
    """Tokens of one training example; longer ones are truncated."""
    usd_per_million_tokens: float | None = None
    """Per million trained tokens (tokens x epochs)."""
    usd_per_million_input: float | None = None
    """Asking the base model; what it answers costs `usd_per_million_output`."""
    usd_per_million_output: float | None = None
    usd_per_million_tuned_input: float | None = None
    """Asking a model tuned from it."""
    usd_per_million_tuned_output: float | None = None
    reasoning: bool = False
    """It thinks before it answers: takes no temperature, and needs room for its thoughts."""
    usd_per_hour: float | None = None
    """Reinforcement: per hour of training."""
    note: str = ""
    """What a user should know before choosing it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What the vendor's API itself says about a base model's end; None where it says nothing."""

    model: date | None = None
    training: date | None = None


def ends_of(answer: Mapping[str, Any]) -> Ends:
    """Both shapes: OpenAI's `shutdown_date`, Azure's `deprecation` with seconds."""
    deprecation: Mapping[str, Any] = answer.get("deprecation") or {}
    return Ends(
        model=_day(answer.get("shutdown_date") or deprecation.get("inference")),
        training=_day(deprecation.get("fine_tune")),
    )


def _day(value: object) -> date | None:
    try:
        if isinstance(value, str):
            return date.fromisoformat(value[:10])
        return datetime.fromtimestamp(value, UTC).date() if isinstance(value, int) else None
    except (ValueError, OverflowError, OSError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The table, and what holds for the whole platform."""

    rows: tuple[BaseModel, ...]
    creation_ends: date | None
    note: str
    source: Mapping[str, str]

    def find(self, model: str) -> BaseModel:
        """The row for a model id, a dated snapshot or a model tuned from it; an empty row when nothing is known."""
        base = model.split(":")[1] if model.startswith("ft:") and model.count(":") else model
        fitting = [row for row in self.rows if _SNAPSHOT.sub("", base) == row.id or base == row.id]
        return max(fitting, key=lambda row: len(row.id), default=BaseModel(id=base))


def load(path: Path, *, override: Path | None = None) -> Models:
    """A provider's table, with the user's file (if there is one) laid over it. Raises `SpecError` for a bad file."""
    ours = tomllib.loads(path.read_text("utf-8"))
    theirs = _read_override(override) if override is not None and override.exists() else {}
    rows: dict[str, dict[str, Any]] = {}
    for row in [*ours.get("model", []), *theirs.get("model", [])]:
        rows[row["id"]] = {**rows.get(row["id"], {}), **row}
    platform = {**ours.get("platform", {}), **theirs.get("platform", {})}
    return Models(
        rows=tuple(_row(values, override) for values in rows.values()),
        creation_ends=platform.get("creation_ends"),
        note=platform.get("note", ""),
        source={**ours.get("source", {}), **({"usd_per_million_tokens": str(override)} if theirs else {})},
    )


def _read_override(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SpecError(f"{path}: cannot be read as TOML: {exc}. Correct it or remove it.") from exc
    unnamed = [row for row in table.get("model", []) if not isinstance(row.get("id"), str)]
    if unnamed:
        raise SpecError(f"{path}: every [[model]] needs an `id`; this one has none: {unnamed[0]}")
    return table


def _row(values: Mapping[str, Any], override: Path | None) -> BaseModel:
    methods = values.get("methods")
    try:
        fields: dict[str, Any] = {**values, "methods": None if methods is None else frozenset(methods)}
        return BaseModel(**fields)
    except TypeError as exc:
        known = ", ".join(BaseModel.__dataclass_fields__)
        raise SpecError(f"{override}: model {values.get('id')!r}: {exc}. Known fields: {known}.") from exc


def retirement(models: Models, model: str, *, today: date, ways_out: str, vendor: Ends) -> list[Finding]:
    """What the calendar says about a base model: nothing, warnings, or an error when no job can be created any more.

    What the vendor's API said (`vendor`) wins over the table.
    """
    row = models.find(model)
    ends, training = vendor.model or row.ends, vendor.training or row.training_ends
    source = "the vendor's API" if vendor.model or vendor.training else models.source.get("ends", "our table")
    over = {
        f"{model!r} ended on": ends,
        f"training {model!r} ended on": training,
        "creating jobs here ended on": models.creation_ends,
    }
    for sentence, day in over.items():
        if day is not None and today >= day:
            return [_finding("error", f"{sentence} {day} (source: {source})", ways_out)]
    soon = {
        f"{model!r} and every model tuned from it end on": ends,
        f"training {model!r} ends on": training,
        "no job can be created here from": models.creation_ends,
    }
    found = [
        _finding("warning", f"{sentence} {day}, in {(day - today).days} days (source: {source})", ways_out)
        for sentence, day in soon.items()
        if day is not None and (day - today).days <= SOON_DAYS
    ]
    return found + ([_finding("info", row.note, "")] if row.note else [])


def _finding(severity: Severity, message: str, fix: str) -> Finding:
    return Finding(rule="base-model-ends", severity=severity, message=message, fix=fix)
