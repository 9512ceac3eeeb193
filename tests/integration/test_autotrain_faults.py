"""What can go wrong with an AutoTrain job, in its own environment: stopped early, killed, with a token around."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import autotrain_models as tiny
import peft_jobs
import pytest
from finetune_providers.autotrain.provider import AutoTrainProvider
from managed_envs import managed_home

from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus

DYING = """
import os, subprocess, sys

def main(ctx):
    print("{not json", flush=True)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    (ctx.dir / "child").write_text(str(child.pid))
    os._exit(3)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny.make(tmp_path_factory.mktemp("models"))["causal"]


def start(folder: Path, model: str, provider: type[AutoTrainProvider], **knobs: Any) -> peft_jobs.Ran:
    whole: dict[str, Any] = {
        "provider": "autotrain",
        "model": model,
        "data": {"train": tiny.rows(folder / "rows.jsonl", tiny.chats())},
        "compute": {"environment": "managed", "threads": 1},
        "hyperparameters": {"batch_size": 4, "log_steps": 1, "max_seq_length": 64, **knobs},
    }
    made = provider(home=managed_home(folder / "home"))
    return peft_jobs.Ran(made, made.submit(made.plan(JobSpec.model_validate(whole)), key="job"))


def _runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in (Path("/proc") / str(pid) / "status").read_text()
    except FileNotFoundError:
        return False


def test_a_job_cancelled_while_autotrain_is_imported_ends_without_training(tmp_path: Path, model: str) -> None:
    job = start(tmp_path, model, AutoTrainProvider, max_steps=100_000)
    job.until(lambda: (job.folder / "process.json").exists() and "worker_pid" in _process(job))
    job.provider.cancel(job.ref)

    assert job.end().status is JobStatus.CANCELLED
    assert job.losses == {}
    assert not _runs(job.worker_pid)


def _process(job: peft_jobs.Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.folder / "process.json").read_text())
    return found


def test_a_cancelled_job_keeps_what_it_learned(tmp_path: Path, model: str) -> None:
    job = start(tmp_path, model, AutoTrainProvider, max_steps=100_000)
    job.until_step(2)
    job.cancel()

    assert job.end().status is JobStatus.CANCELLED
    assert "adapter" in {artifact.kind for artifact in job.provider.artifacts(job.ref)}
    assert not _runs(job.worker_pid)


def test_a_worker_that_prints_junk_leaves_a_child_and_dies_before_its_first_event(tmp_path: Path, model: str) -> None:
    (tmp_path / "worker.py").write_text(DYING)

    class Dying(AutoTrainProvider):
        worker: ClassVar[Path] = tmp_path / "worker.py"

    job = start(tmp_path, model, Dying, max_steps=2)
    state = job.end()
    assert state.status is JobStatus.FAILED
    assert "3" in (state.error or "")
    assert not _runs(int((job.folder / "child").read_text()))
