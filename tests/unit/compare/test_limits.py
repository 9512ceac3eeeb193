"""What the limit of time does to jobs, and who may start from whose base model."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.compare.bench import Candidate, Limits, load
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.candidates import expand
from finetune_sdk.compare.state import Folder
from finetune_sdk.compare.training import trained
from finetune_sdk.errors import BudgetExceeded, SpecError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import standing_in
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import JobStatus


@pytest.fixture
def home(tmp_path: Path) -> Generator[Path]:
    with standing_in("fake", lambda home: FakeProvider(home=home)):
        yield tmp_path / "home"


def endless(folder: Path) -> JobSpec:
    """A job that never ends by itself."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"q{i}", "completion": "a"}) + "\n" for i in range(12)))
    options = {"fake": {"script": ["running"]}}
    tree: dict[str, Any] = {"provider": "fake", "model": "fake/base", "data": {"train": str(rows)}, "options": options}
    return JobSpec.model_validate(tree)


class Short(Budget):
    """A budget whose time is about to end whenever one looks."""

    @property
    def left_s(self) -> float | None:
        return 0.05


class Over(Budget):
    """A budget whose time has ended."""

    @property
    def left_s(self) -> float | None:
        return -1.0


def begun(kind: type[Budget], folder: Path) -> Budget:
    return kind(folder / "spent.json", Limits(max_hours=2))


def test_a_job_that_trains_beyond_the_limit_is_cancelled_and_reported(home: Path, tmp_path: Path) -> None:
    folder = Folder(home, "bench")
    with pytest.raises(BudgetExceeded, match="training of slow was stopped: the 2 hours of the comparison are over"):
        trained(folder, "slow", endless(tmp_path), home=home, budget=begun(Short, tmp_path))
    (job,) = FineTuneJob.list(home=home)
    assert job.record.status is JobStatus.CANCELLED
    assert folder.standing("slow").job_id == job.id


def test_a_cancelled_job_is_not_taken_up_again_once_the_time_is_over(home: Path, tmp_path: Path) -> None:
    folder, spec = Folder(home, "bench"), endless(tmp_path)
    for kind in (Short, Over):
        with pytest.raises(BudgetExceeded, match="was stopped"):
            trained(folder, "slow", spec, home=home, budget=begun(kind, tmp_path))
    assert [job.record.status for job in FineTuneJob.list(home=home)] == [JobStatus.CANCELLED]


def test_nothing_is_begun_once_the_time_is_over(home: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded, match="was not begun: the 2 hours of the comparison are over"):
        trained(Folder(home, "bench"), "late", endless(tmp_path), home=home, budget=begun(Over, tmp_path))
    assert FineTuneJob.list(home=home) == []


def bench(*candidates: dict[str, Any]) -> tuple[Candidate, ...]:
    tree = {"data": {"train": "rows.jsonl"}, "metrics": ["accuracy"], "candidates": list(candidates)}
    return expand(load(tree))


@pytest.mark.parametrize("other", ["nobody", "plain", "second"])
def test_a_base_model_is_taken_from_a_tuned_candidate_with_one_of_its_own(other: str) -> None:
    known: list[dict[str, Any]] = [
        {"name": "first", "tune": {}},
        {"name": "plain"},
        {"name": "second", "tune": {}, "base_of": "first"},
    ]
    with pytest.raises(SpecError, match=f"base_of names '{other}'.*there are: first"):
        bench(*known, {"name": "third", "tune": {}, "base_of": other})


def test_a_candidate_has_one_base_model() -> None:
    with pytest.raises(SpecError, match="`base_of` names the model; remove `model`"):
        bench({"name": "first", "tune": {}}, {"name": "two", "tune": {}, "base_of": "first", "model": "other"})
