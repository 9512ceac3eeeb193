"""`FineTuneJob` and `AsyncFineTuneJob` over the fake provider: submitted, looked at, deployed, removed."""

from __future__ import annotations

import asyncio
import inspect
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rich.console
from fake_jobs import FAST_S, HELD, interrupted, spec, submit
from fakes import write_rows

import finetune_sdk
from finetune_sdk import AsyncFineTuneJob, FineTuneJob, JobSpec, JobStatus, _procedures, _view
from finetune_sdk.errors import (
    Ambiguous,
    AuthFailed,
    BudgetExceeded,
    DataError,
    JobFailed,
    JobNotFound,
    SpecError,
    UnknownProvider,
    WrongStatus,
)
from finetune_sdk.provider import Plan
from finetune_sdk.registry import standing_in
from finetune_sdk.store import JobStore
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import Artifact, Deployment


def test_a_job_runs_to_its_end(home: Path) -> None:
    record = submit(home).wait(poll_s=FAST_S)

    assert (record.status, record.model) == (JobStatus.SUCCEEDED, "fake:vendor-0001")


def test_a_job_can_be_given_as_a_file_with_another_provider(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"provider: peft\nmodel: m\ndata: {{train: {write_rows(tmp_path / 'data')}}}\n")

    assert FineTuneJob.submit(file, provider="fake", home=home).record.provider == "fake"


def test_a_job_can_be_given_as_a_mapping(home: Path) -> None:
    job = FineTuneJob.submit(spec(home).model_dump(mode="json"), home=home)

    assert job.spec == spec(home)


def test_planning_creates_nothing_not_even_the_home(home: Path) -> None:
    assert FineTuneJob.plan(spec(home), home=home).provider == "fake"
    assert not home.exists()


@pytest.mark.parametrize("verb", ["plan", "submit"])
def test_an_unknown_provider_is_named(home: Path, verb: str) -> None:
    with pytest.raises(UnknownProvider, match="feak"):
        getattr(FineTuneJob, verb)(spec(home), provider="feak", home=home)


def test_data_with_errors_are_refused_with_their_place(home: Path) -> None:
    wanted = spec(home)
    Path(str(wanted.data.train)).write_text('{"messages": [{"role": "user", "content": "alone"}]}\n')

    with pytest.raises(DataError, match=r"train\.jsonl"):
        FineTuneJob.submit(wanted, home=home)
    assert FineTuneJob.list(home=home) == []


@pytest.mark.parametrize("usd", [None, 12.5])
def test_an_estimate_above_the_budget_or_unknown_is_refused(home: Path, fake: FakeProvider, usd: float | None) -> None:
    limited = JobSpec.model_validate({**spec(home, usd=usd).model_dump(mode="json"), "budget": {"max_cost_usd": 10}})

    with pytest.raises(BudgetExceeded, match=r"unknown|12\.50"):
        FineTuneJob.submit(limited, home=home)
    assert (FineTuneJob.list(home=home), fake.vendor.requests()) == ([], [])


def test_an_estimate_within_the_budget_is_accepted(home: Path) -> None:
    limited = JobSpec.model_validate({**spec(home, usd=9).model_dump(mode="json"), "budget": {"max_cost_usd": 10}})

    assert FineTuneJob.submit(limited, home=home).status is JobStatus.PREPARING


def test_a_job_is_attached_by_the_start_of_its_id(home: Path) -> None:
    job = submit(home)

    assert FineTuneJob.attach(job.id[:7], home=home) == job


@pytest.mark.parametrize(("prefix", "error"), [("ft-none", JobNotFound), ("", SpecError)])
def test_attaching_to_nothing_is_refused(home: Path, prefix: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        FineTuneJob.attach(prefix, home=home)


def test_jobs_are_listed_newest_first(home: Path) -> None:
    jobs = [submit(home), submit(home)]

    assert FineTuneJob.list(home=home) == jobs[::-1]


def test_the_home_comes_from_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(home))

    assert FineTuneJob.submit(spec(home)).home == home


def test_a_succeeded_job_can_be_deployed(home: Path) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)
    deployment = job.deploy(name="mine")

    assert deployment.model == "mine"
    assert JobStore(home).deployments() == [deployment]


def test_a_running_job_cannot_be_deployed(home: Path) -> None:
    with pytest.raises(WrongStatus, match="only a succeeded job"):
        submit(home, script=HELD).deploy()


@pytest.mark.parametrize("wanted", [3, "3", "vendor-0001/3"])
def test_a_checkpoint_can_be_chosen_for_deployment(home: Path, wanted: int | str) -> None:
    with standing_in("fake", lambda home: Choosing(home=home)):
        job = submit(home)
        job.wait(poll_s=FAST_S)
        assert job.deploy(checkpoint=wanted).base_url == "http://127.0.0.1/vendor-0001/3"


class Choosing(FakeProvider):
    """Says in its deployments what was deployed."""

    def deploy(self, artifact: Artifact, *, name: str) -> Deployment:
        return replace(super().deploy(artifact, name=name), base_url=f"http://127.0.0.1/{artifact.uri}")


def test_a_checkpoint_of_a_job_that_was_stopped_can_be_deployed(home: Path) -> None:
    job = submit(home, script=["running", "running", "cancelled"])
    with pytest.raises(JobFailed):
        job.wait(poll_s=FAST_S)
    assert job.deploy(checkpoint=job.checkpoints()[0].ref).status == "ready"


def test_a_checkpoint_that_is_not_there_names_those_that_are(home: Path) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)
    with pytest.raises(WrongStatus, match="2, 3, 4"):
        job.deploy(checkpoint=7)


def test_an_artifact_and_a_checkpoint_cannot_both_be_meant(home: Path) -> None:
    with pytest.raises(SpecError, match="give one"):
        submit(home).deploy(kind="adapter", checkpoint=1)


def test_an_artifact_that_is_not_there_cannot_be_deployed(home: Path) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)

    with pytest.raises(WrongStatus, match="it has: adapter"):
        job.deploy(kind="gguf")


def test_checkpoints_come_lowest_step_first(home: Path) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)

    assert [checkpoint.step for checkpoint in job.checkpoints()] == [2, 3, 4]


def test_a_job_without_predictions_has_no_evaluation(home: Path) -> None:
    with pytest.raises(WrongStatus, match="evaluation"):
        submit(home).evaluation()


def test_a_running_job_cannot_be_removed(home: Path) -> None:
    with pytest.raises(WrongStatus, match="cancel it first"):
        submit(home, script=HELD).remove()


def test_a_removed_job_is_gone(home: Path) -> None:
    job = submit(home)
    job.wait(poll_s=FAST_S)
    job.remove()

    assert FineTuneJob.list(home=home) == []


# --- submission that goes wrong -------------------------------------------------------------------------------------


def test_a_refused_submission_is_a_failed_job(home: Path, fake: FakeProvider) -> None:
    wanted = spec(home)
    fake.vendor.fail_next("auth")
    with pytest.raises(AuthFailed):
        FineTuneJob.submit(wanted, home=home)

    [job] = FineTuneJob.list(home=home)
    assert job.status is JobStatus.FAILED
    assert "incorrect API key" in (job.record.error or "")


def test_a_lost_answer_is_looked_up_and_adopted(home: Path, fake: FakeProvider) -> None:
    fake.vendor.fail_next("lost answer")
    job = submit(home)

    assert job.record.ref == "vendor-0001"
    assert len(fake.vendor.jobs()) == 1


class Blind(FakeProvider):
    """Its list lags behind: it finds nothing."""

    def find(self, key: str) -> str | None:
        return None


@pytest.fixture
def blind(home: Path, fake: FakeProvider) -> Iterator[FineTuneJob]:
    """A job whose submission got no answer, and that the provider does not list yet."""
    fake.vendor.fail_next("lost answer")
    with standing_in("fake", lambda home: Blind(home=home)):
        with pytest.raises(Ambiguous, match="unknown outcome"):
            submit(home)
        [job] = FineTuneJob.list(home=home)
        yield job


def test_an_unknown_outcome_is_never_submitted_again(blind: FineTuneJob, fake: FakeProvider) -> None:
    record = blind.refresh()

    assert record.status is JobStatus.PREPARING
    assert "unknown outcome" in (record.doubt or "")
    assert len(fake.vendor.jobs()) == 1


def test_waiting_for_an_unknown_outcome_says_so(blind: FineTuneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_procedures, "GRACE_S", 0.0)

    with pytest.raises(Ambiguous, match="unknown outcome"):
        blind.wait(poll_s=FAST_S)


def test_an_unknown_outcome_can_be_given_up(blind: FineTuneJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_procedures, "GRACE_S", 0.0)

    assert blind.cancel().status is JobStatus.CANCELLED


def test_a_job_that_shows_up_late_is_adopted(blind: FineTuneJob, fake: FakeProvider) -> None:
    with standing_in("fake", lambda home: FakeProvider(home=home)):
        record = blind.refresh()

    assert (record.ref, record.doubt) == (fake.vendor.jobs()[0]["id"], None)


def test_a_fault_during_submission_leaves_the_outcome_open(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeProvider, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(home)

    [job] = FineTuneJob.list(home=home)
    assert (job.status, "KeyboardInterrupt" in (job.record.doubt or "")) == (JobStatus.PREPARING, True)


class CancelledMeanwhile(FakeProvider):
    """While it submits, another process cancels the job."""

    def submit(self, plan: Plan, *, key: str) -> str:
        ref = super().submit(plan, key=key)
        JobStore(self.home).intend(key, "cancel")
        return ref


def test_a_cancel_during_submission_reaches_the_provider(home: Path, fake: FakeProvider) -> None:
    with standing_in("fake", lambda home: CancelledMeanwhile(home=home)):
        submit(home, script=HELD)

    assert "cancel" in fake.vendor.requests()


# --- both doors, and how a job looks --------------------------------------------------------------------------------


def _verbs(door: type) -> dict[str, inspect.Signature]:
    found = inspect.getmembers(door, callable)
    return {name: inspect.signature(verb) for name, verb in found if not name.startswith("_")}


def test_both_doors_have_the_same_verbs() -> None:
    assert _verbs(FineTuneJob).keys() == _verbs(AsyncFineTuneJob).keys()


@pytest.mark.parametrize("name", sorted(_verbs(FineTuneJob)))
def test_both_doors_take_the_same_arguments(name: str) -> None:
    assert _verbs(FineTuneJob)[name].parameters == _verbs(AsyncFineTuneJob)[name].parameters


@pytest.mark.parametrize("name", sorted(_verbs(FineTuneJob)))
def test_both_doors_answer_the_same(name: str) -> None:
    swapped = str(_verbs(AsyncFineTuneJob)[name].return_annotation).replace("Async", "")

    assert str(_verbs(FineTuneJob)[name].return_annotation) == swapped


def test_the_async_door_runs_a_job_to_its_end(home: Path) -> None:
    async def whole() -> tuple[list[str], JobStatus]:
        job = await AsyncFineTuneJob.submit(spec(home), home=home)
        messages = [event.message async for event in job.follow(poll_s=FAST_S)]
        return messages, (await job.wait()).status

    assert asyncio.run(whole()) == (["queued", "running", "running", "running", "succeeded"], JobStatus.SUCCEEDED)


def test_cancelling_an_awaiting_task_does_not_cancel_the_job(home: Path) -> None:
    async def impatient() -> None:
        job = await AsyncFineTuneJob.submit(spec(home, script=HELD), home=home)
        async with asyncio.timeout(0.05):
            await job.wait(poll_s=FAST_S)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert not FineTuneJob.list(home=home)[0].refresh().status.terminal


def test_a_handle_holds_an_id_and_a_home_and_nothing_else(home: Path) -> None:
    job = submit(home)

    assert not hasattr(job, "__dict__")
    assert {name: getattr(job, name) for name in ("id", "home")} == {"id": job.id, "home": home}


def test_a_job_shows_its_facts_in_a_terminal(home: Path) -> None:
    job = submit(home)
    console = rich.console.Console(file=io.StringIO(), width=100)
    console.print(job)

    assert isinstance(console.file, io.StringIO)
    assert all(text in console.file.getvalue() for text in (job.id, "preparing", "fake/base", "sft"))


def test_a_job_shows_its_facts_in_a_notebook_escaped(home: Path) -> None:
    job = submit(home)
    record = replace(job.record, error="<script>")

    assert job.id in job._repr_html_()  # pyright: ignore[reportPrivateUsage] - the notebook's name for it
    assert "&lt;script&gt;" in _view.html(record)


def test_every_public_name_can_be_imported() -> None:
    missing = [name for name in finetune_sdk.__all__ if getattr(finetune_sdk, name, None) is None]

    assert missing == []


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        finetune_sdk.no_such  # noqa: B018  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
