"""Fixtures of the conformance suite for `FakeProvider` and its broken kin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finetune_sdk.spec import JobSpec

SECRET = "fk-very-secret-0123456789"


def write_rows(folder: Path, rows: int = 4) -> Path:
    """A small chat dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps({"messages": _turns(number)}) + "\n" for number in range(rows)))
    return file


def fake_spec(train: Path, **options: Any) -> JobSpec:
    """A job of the fake provider; the options script it."""
    return JobSpec.model_validate(
        {"provider": "fake", "model": "fake/base", "data": {"train": str(train)}, "options": {"fake": options}}
    )


def _turns(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"question {number}"}, {"role": "assistant", "content": f"answer {number}"}]
