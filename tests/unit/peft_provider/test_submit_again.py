"""Submitting again under the same key after a submitter died: one worker, whatever the first one left behind."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import peft_jobs
import pytest
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.data import prepare
from finetune_sdk.provider import Plan, Support
from finetune_sdk.spec import DataSpec
from finetune_sdk.worker import process, state, wire
from finetune_sdk.worker.places import Here

KEY = "job"
TOY = """\
import os

def main(ctx):
    with open(ctx.dir / "starts", "a") as file:
        file.write(f"{os.getpid()}\\n")
    return {"model": "toy"}
"""
Leave = Callable[[PeftProvider, Plan], None]


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PeftProvider:
    """The provider with a worker that only says that it ran, in this interpreter."""
    toy = tmp_path / "toy.py"
    toy.write_text(TOY, encoding="utf-8")
    monkeypatch.setattr(PeftProvider, "worker", toy)

    def this_one(_self: Here, _wanted: str) -> Path:
        return Path(sys.executable)

    monkeypatch.setattr(Here, "python", this_one)
    return PeftProvider(home=tmp_path / "home")


@pytest.fixture
def plan(provider: PeftProvider, tmp_path: Path) -> Plan:
    return provider.plan(peft_jobs.spec(peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(12))))


def _folder(provider: PeftProvider) -> Path:
    return provider.home / "jobs" / KEY


def _nothing(_provider: PeftProvider, _plan: Plan) -> None:
    """Died before the folder was made."""


def _half_of_the_data(provider: PeftProvider, _plan: Plan) -> None:
    (_folder(provider) / "data").mkdir(parents=True)
    (_folder(provider) / "data" / "train.jsonl.4711.part").write_bytes(b'{"kind":"ch')


def _data(provider: PeftProvider, plan: Plan) -> None:
    prepare(DataSpec.model_validate(plan.request["data"]), method="sft").write(_folder(provider) / "data")


def _spec(provider: PeftProvider, plan: Plan) -> None:
    _data(provider, plan)
    (_folder(provider) / wire.LOCK).touch()
    wire.write_json(_folder(provider) / wire.SPEC, {"protocol": 1, "job_id": KEY, "attempt": 1, "request": {}})


def _half_a_spec(provider: PeftProvider, plan: Plan) -> None:
    _data(provider, plan)
    (_folder(provider) / f"{wire.SPEC}.4711.part").write_text('{"protocol"', encoding="utf-8")


def _whole_job(provider: PeftProvider, plan: Plan) -> None:
    provider.submit(plan, key=KEY)


@pytest.mark.parametrize("leave", [_nothing, _half_of_the_data, _data, _half_a_spec, _spec, _whole_job])
def test_submitting_again_starts_exactly_one_worker(provider: PeftProvider, plan: Plan, leave: Leave) -> None:
    leave(provider, plan)

    refs = {provider.submit(plan, key=KEY) for _ in range(2)}
    job = peft_jobs.Ran(provider, KEY)

    assert refs == {KEY}
    assert job.end().model == "toy"
    assert len((job.folder / "starts").read_text().splitlines()) == 1
    assert json.loads((job.folder / wire.SPEC).read_text())["request"] == json.loads(json.dumps(plan.request))


@pytest.mark.parametrize("leave", [_nothing, _half_of_the_data, _data, _half_a_spec, _spec])
def test_what_a_dead_submitter_left_is_no_job(provider: PeftProvider, plan: Plan, leave: Leave) -> None:
    leave(provider, plan)

    assert provider.find(KEY) is None


def test_a_job_that_another_process_is_starting_is_found_and_not_started_again(
    provider: PeftProvider, plan: Plan
) -> None:
    _spec(provider, plan)

    with (_folder(provider) / wire.LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert provider.find(KEY) == KEY
        assert provider.submit(plan, key=KEY) == KEY
    assert not (_folder(provider) / wire.PROCESS).exists()


def test_a_submitter_overtaken_by_another_answers_with_its_job(
    provider: PeftProvider, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = process.start

    def overtaken(*args: object, **named: object) -> None:
        for _ in range(2):
            start(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(process, "start", overtaken)

    assert provider.submit(plan, key=KEY) == KEY


def test_a_start_that_completes_while_one_looks_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completes(job_dir: Path) -> bool:
        """Looks at the lock while the supervisor writes its record and lets go."""
        (job_dir / wire.PROCESS).touch()
        return False

    monkeypatch.setattr(state, "starting", completes)

    assert state.started(tmp_path)


def test_a_look_at_the_job_does_not_make_its_start_fail(provider: PeftProvider, plan: Plan) -> None:
    _spec(provider, plan)
    lock = (_folder(provider) / wire.LOCK).open("rb")
    fcntl.flock(lock, fcntl.LOCK_SH)  # as `find` does for a moment

    Timer(0.02, lock.close).start()
    process.start(_folder(provider), python=Path(sys.executable), worker=PeftProvider.worker, request={}, job_id=KEY)

    assert peft_jobs.Ran(provider, KEY).end().model == "toy"


@pytest.mark.parametrize("name", ["resubmit", "exact_find"])
def test_recovery_after_a_crash_is_claimed(name: str) -> None:
    assert PeftProvider.capabilities.claim(f"feature.{name}").support is Support.FULL
