"""The limit of time at a real job: it stops with a checkpoint, and a later run takes it up from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from managed_envs import managed_home

from finetune_sdk.compare.bench import Limits
from finetune_sdk.compare.budget import Budget
from finetune_sdk.compare.state import Folder
from finetune_sdk.compare.training import trained
from finetune_sdk.errors import BudgetExceeded
from finetune_sdk.job import FineTuneJob
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus


class OverAtWork(Budget):
    """A budget whose time is over as soon as the job on this machine has trained a step of its attempt."""

    home: Path
    attempt: int

    @property
    def left_s(self) -> float | None:
        jobs = FineTuneJob.list(home=self.home)
        begun = any(
            job.refresh().attempt == self.attempt and any((event.step or 0) > self.after for event in job.events())
            for job in jobs
        )
        return 0.0 if begun else 1.0e6

    after: int = 0


def budget(home: Path, attempt: int, after: int) -> Budget:
    made = OverAtWork(home / "spent.json", Limits(max_hours=1))
    made.home, made.attempt, made.after = home, attempt, after
    return made


def test_a_real_job_is_stopped_at_the_limit_and_resumed_from_its_checkpoint_by_a_later_run(tmp_path: Path) -> None:
    home = managed_home(tmp_path / "home")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"number {n}", "completion": "joy"}) + "\n" for n in range(32)))
    tree: dict[str, Any] = {
        "provider": "peft", "model": "builtin/tiny", "seed": 0, "data": {"train": str(rows)},
        "hyperparameters": {"max_steps": 100_000, "batch_size": 2}, "compute": {"threads": 1},
    }  # fmt: skip
    folder, spec, seen = Folder(home, "bench"), JobSpec.model_validate(tree), 0
    for attempt in (1, 2):
        with pytest.raises(BudgetExceeded, match=r"training of long was stopped: .* is cancelled"):
            trained(folder, "long", spec, home=home, budget=budget(home, attempt, seen))
        (job,) = FineTuneJob.list(home=home)
        assert (job.record.status, job.record.attempt) == (JobStatus.CANCELLED, attempt)
        before, seen = seen, max(checkpoint.step for checkpoint in job.checkpoints())
        assert seen > before
