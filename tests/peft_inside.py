"""The peft worker inside the test process, its events kept in memory: quick, and every number can be looked at."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune_providers.peft.provider import PeftProvider
from peft_jobs import write

from finetune_sdk.data import prepare
from finetune_sdk.spec import JobSpec


class Failed(Exception):
    """What the runner's context offers for failures with a known reason."""


@dataclass
class Context:
    """The runner's context."""

    dir: Path
    request: dict[str, Any]
    job_id: str = "job"
    attempt: int = 1
    rank: int = 0
    world_size: int = 1
    pause_at: int | None = None
    """The step at which `stop` begins to answer "pause"."""
    events: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    Failed: type[Exception] = Failed

    @property
    def stop(self) -> str | None:
        reached = max((event["step"] or 0 for event in self.events), default=0)
        return "pause" if self.pause_at is not None and reached >= self.pause_at else None

    def leaving_when_told(self) -> AbstractContextManager[None]:
        return nullcontext()  # nobody stops these while they import

    def event(self, message: str, *, level: str = "info", step: int | None = None, **metrics: float) -> None:
        self.events.append({"message": message, "level": level, "step": step, "metrics": metrics})

    def series(self, name: str) -> list[float]:
        """All values of one metric, in order."""
        return [event["metrics"][name] for event in self.events if name in event["metrics"]]

    def said(self, words: str) -> bool:
        """Whether some event's text contains the words."""
        return any(words in event["message"] for event in self.events)

    def again(self) -> Context:
        """The next attempt in the same folder."""
        return Context(dir=self.dir, request=self.request, attempt=self.attempt + 1)


def spec(folder: Path, rows: Iterable[Mapping[str, Any]], **parts: Any) -> JobSpec:
    """A job on `builtin/tiny` over the rows, seed 0, one thread; `parts` replace or are merged into the usual ones."""
    folder.mkdir(parents=True, exist_ok=True)
    whole: dict[str, Any] = {
        "provider": "peft",
        "model": "builtin/tiny",
        "data": {"train": str(write(folder / "rows.jsonl", list(rows)))},
        "compute": {"threads": 1},
        "hyperparameters": {"batch_size": 16},
        "seed": 0,
    }
    for name, value in parts.items():
        usual = whole.get(name)
        whole[name] = {**usual, **value} if isinstance(usual, dict) else value
    return JobSpec.model_validate(whole)


def context(home: Path, wanted: JobSpec, **fields: Any) -> Context:
    """Plan the job and write its data, ready for `run`."""
    plan = PeftProvider(home=home).plan(wanted)
    assert not plan.errors, plan.errors
    folder = home / "job"
    prepare(wanted.data, method=wanted.method.kind).write(folder / "data")
    return Context(dir=folder, request=json.loads(json.dumps(plan.request)), **fields)


def run(ctx: Context) -> dict[str, Any]:
    """The worker's result."""
    from finetune_providers.peft import worker  # noqa: PLC0415 - the tests of plans need no torch

    importlib.import_module("transformers")  # whole: the worker would load less, for all tests here

    return worker.main(ctx)


def train(home: Path, rows: Iterable[Mapping[str, Any]], **parts: Any) -> tuple[Context, dict[str, Any]]:
    """Plan, run, answer context and result."""
    ctx = context(home, spec(home, rows, **parts))
    return ctx, run(ctx)
