"""The peft provider's jobs survive interruption: kill, pause, cancel, and checkpoints that were damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import peft_jobs
import pytest
from peft_jobs import Ran

from finetune_sdk.types import JobStatus

KNOBS = {"max_steps": 56, "batch_size": 4, "save_steps": 8, "log_steps": 1, "epochs": 20}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for several epochs within the run: a resumed one must also find its place in a later epoch."""
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(50))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Ran:
    return peft_jobs.run(tmp_path_factory.mktemp("home"), peft_jobs.spec(data, hyperparameters=KNOBS))


@pytest.fixture
def running(tmp_path: Path, data: Path) -> Iterator[Ran]:
    """A job past its second checkpoint, stopped when the test is over."""
    job = peft_jobs.submit(tmp_path, peft_jobs.spec(data, hyperparameters=KNOBS))
    job.until_step(18)
    yield job
    job.provider.cancel(job.ref)
    job.end()


def _weights(job: Ran) -> bytes:
    return (job.folder / "artifacts" / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_killed_job_resumes_to_the_same_losses_and_weights(running: Ran, uninterrupted: Ran) -> None:
    running.kill()
    assert running.end().status is JobStatus.FAILED

    running.provider.resume(running.ref)
    assert running.end().status is JobStatus.SUCCEEDED, running.state.error

    assert running.losses == uninterrupted.losses
    assert _weights(running) == _weights(uninterrupted)


def test_a_paused_job_saves_stops_and_goes_on(running: Ran, uninterrupted: Ran) -> None:
    running.provider.pause(running.ref)
    assert running.end().status is JobStatus.PAUSED
    assert running.provider.checkpoints(running.ref)[-1].step == max(running.losses)

    running.provider.resume(running.ref)
    assert running.end().status is JobStatus.SUCCEEDED, running.state.error

    assert _weights(running) == _weights(uninterrupted)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(running: Ran, uninterrupted: Ran) -> None:
    running.kill()
    running.end()
    newest = Path(running.provider.checkpoints(running.ref)[-1].ref)
    weights = newest / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    running.provider.resume(running.ref)
    assert running.end().status is JobStatus.SUCCEEDED, running.state.error

    assert f"{newest.name} is not whole" in " ".join(running.messages)
    assert running.losses == uninterrupted.losses


def test_a_cancelled_job_ends_cancelled_with_a_checkpoint(running: Ran) -> None:
    running.cancel()

    assert running.end().status is JobStatus.CANCELLED
    assert running.provider.checkpoints(running.ref)


def test_no_half_written_checkpoint_is_left(running: Ran) -> None:
    running.cancel()
    running.end()

    assert not list((running.folder / "checkpoints" / ".part").glob("*"))


def test_the_time_budget_stops_the_job(tmp_path: Path, data: Path) -> None:
    wanted = peft_jobs.spec(data, hyperparameters=KNOBS, budget={"max_hours": 1e-6})

    ended = peft_jobs.run(tmp_path, wanted).state

    assert ended.status is JobStatus.CANCELLED
    assert "budget.max_hours" in str(ended.error)
