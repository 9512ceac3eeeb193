"""Jobs of the fake provider, submitted in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes import fake_spec, write_rows

from finetune_sdk import FineTuneJob, JobSpec

HELD = ["queued", "running"]
"""Runs until somebody stops it."""
FAST_S = 0.001
"""Between two looks."""


def spec(home: Path, **options: Any) -> JobSpec:
    """Its data lie beside the home; the options script it."""
    return fake_spec(write_rows(home.parent / "data"), **options)


def submit(home: Path, **options: Any) -> FineTuneJob:
    """Planned and started."""
    return FineTuneJob.submit(spec(home, **options), home=home)


def interrupted(*_: object, **__: object) -> None:
    """In place of a provider's call, by which the user loses patience."""
    raise KeyboardInterrupt
