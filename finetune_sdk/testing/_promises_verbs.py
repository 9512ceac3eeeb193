"""Promises about interfering with a run: cancel, pause, resume, waiting, and what goes wrong at the other end."""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import msgspec
import pytest

from finetune_sdk.errors import AuthFailed, FineTuneError, JobFailed, ProviderError, Throttled, Unreachable, WaitTimeout
from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._vendor import Failure
from finetune_sdk.testing._watch import FailNext, Reopen, Run, needs, optional, watch
from finetune_sdk.types import JobState, JobStatus


class VerbPromises:
    """What holds when somebody interferes. Most tests run a job of their own: of `long_spec` where there is one."""

    patience_s: ClassVar[float]
    poll_s: ClassVar[float]

    @pytest.fixture
    def running(self, request: pytest.FixtureRequest, provider: Provider, spec: JobSpec) -> Iterator[FineTuneJob]:
        """A job that has just begun to run, and will do so for a while; stopped when the test is over."""
        try:
            wanted: JobSpec = request.getfixturevalue("long_spec")
        except pytest.FixtureLookupError:
            wanted = spec
        job = FineTuneJob.submit(wanted, home=provider.home)
        self._until(job, lambda: job.refresh().status not in ("preparing", "validating", "queued"))
        if job.status.terminal:
            pytest.skip("the job was over before anybody could interfere: give a fixture 'long_spec'")
        yield job
        if provider.capabilities.claim("feature.cancel").support:
            job.cancel()
            self._end(provider, job)  # what it still writes would be another test's surprise

    def _until(self, job: FineTuneJob, reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.patience_s
        while not reached():
            assert time.monotonic() < deadline, f"job {job.id} is still {job.status} after {self.patience_s:g} s"
            time.sleep(self.poll_s)

    def _end(self, provider: Provider, job: FineTuneJob) -> JobState:
        return watch(provider, _ref(job), patience_s=self.patience_s, poll_s=self.poll_s)[-1]

    def test_waiting_can_time_out_and_does_not_cancel(self, running: FineTuneJob) -> None:
        with pytest.raises(WaitTimeout):
            running.wait(timeout_s=self.poll_s, poll_s=self.poll_s)
        assert running.refresh().status is JobStatus.RUNNING

    def test_a_cancelled_job_stops(self, provider: Provider, running: FineTuneJob) -> None:
        needs(provider, "cancel")
        provider.cancel(_ref(running))
        assert self._end(provider, running).status is JobStatus.CANCELLED

    def test_cancelling_twice_is_cancelling_once(self, provider: Provider, running: FineTuneJob) -> None:
        needs(provider, "cancel")
        provider.cancel(_ref(running))
        provider.cancel(_ref(running))
        ended = self._end(provider, running)
        provider.cancel(_ref(running))
        assert provider.poll(_ref(running)) == ended

    def test_a_new_object_can_cancel(self, provider: Provider, reopen: Reopen, running: FineTuneJob) -> None:
        needs(provider, "cancel")
        reopen().cancel(_ref(running))
        assert self._end(reopen(), running).status is JobStatus.CANCELLED

    def test_a_paused_job_rests_and_goes_on_when_resumed(self, provider: Provider, running: FineTuneJob) -> None:
        needs(provider, "pause")
        provider.pause(_ref(running))
        assert self._end(provider, running).status is JobStatus.PAUSED
        provider.resume(_ref(running))
        assert provider.poll(_ref(running)).status is not JobStatus.PAUSED

    def test_a_pause_that_was_asked_for_ends_the_wait(self, provider: Provider, running: FineTuneJob) -> None:
        needs(provider, "pause")
        running.pause()
        assert running.wait(timeout_s=self.patience_s, poll_s=self.poll_s).status is JobStatus.PAUSED

    def test_a_pause_that_nobody_asked_for_is_waited_out_and_told_once(
        self, request: pytest.FixtureRequest, provider: Provider
    ) -> None:
        job = FineTuneJob.submit(optional(request, "preempted_spec"), home=provider.home)
        assert job.wait(timeout_s=self.patience_s, poll_s=self.poll_s).status is JobStatus.SUCCEEDED
        assert [event.level for event in job.events() if "paused the job" in event.message] == ["warning"]

    def test_a_resumed_job_repeats_no_cursor(self, provider: Provider, running: FineTuneJob) -> None:
        needs(provider, "resume")
        before = self._stopped_and_resumed(provider, running)
        events = provider.events(_ref(running))
        assert [event.cursor for event in events][: len(before)] == before
        assert len({event.cursor for event in events}) == len(events)

    def test_a_resumed_job_is_running_from_the_moment_resume_returns(
        self, provider: Provider, running: FineTuneJob
    ) -> None:
        needs(provider, "resume")
        self._stopped_and_resumed(provider, running)
        assert provider.poll(_ref(running)).status not in (JobStatus.CANCELLED, JobStatus.PAUSED)

    def _stopped_and_resumed(self, provider: Provider, job: FineTuneJob) -> list[str]:
        """The cursors at rest: paused where it can be (some vendors resume nothing else), else cancelled."""
        pauses = provider.capabilities.claim("feature.pause").support
        (provider.pause if pauses else provider.cancel)(_ref(job))
        self._end(provider, job)
        cursors = [event.cursor for event in provider.events(_ref(job))]
        provider.resume(_ref(job))
        return cursors

    def test_failure_has_a_reason(self, request: pytest.FixtureRequest, provider: Provider) -> None:
        job = FineTuneJob.submit(optional(request, "failing_spec"), home=provider.home)
        ended = self._end(provider, job)
        assert ended.status is JobStatus.FAILED
        assert ended.error

    def test_a_killed_worker_is_a_failed_job_with_a_reason(
        self, request: pytest.FixtureRequest, provider: Provider, running: FineTuneJob
    ) -> None:
        kill: Callable[[str], None] = optional(request, "kill_worker")
        kill(_ref(running))
        ended = self._end(provider, running)
        assert ended.status is JobStatus.FAILED
        assert ended.error
        with pytest.raises(JobFailed):
            running.wait(timeout_s=self.patience_s, poll_s=self.poll_s)

    def test_a_refused_key_is_auth_failed(
        self, request: pytest.FixtureRequest, provider: Provider, finished: Run
    ) -> None:
        _fail_next(request)("auth")
        with pytest.raises(AuthFailed):
            provider.poll(finished.ref)

    def test_throttling_says_for_how_long(
        self, request: pytest.FixtureRequest, provider: Provider, finished: Run
    ) -> None:
        _fail_next(request)("throttled")
        with pytest.raises(Throttled) as caught:
            provider.poll(finished.ref)
        assert caught.value.retry_after_s is not None

    def test_a_lost_connection_while_reading_is_unreachable(
        self, request: pytest.FixtureRequest, provider: Provider, finished: Run
    ) -> None:
        _fail_next(request)("unreachable")
        with pytest.raises(Unreachable):
            provider.poll(finished.ref)

    def test_reading_is_repeated_after_a_lost_connection(
        self, request: pytest.FixtureRequest, running: FineTuneJob
    ) -> None:
        _fail_next(request)("throttled")
        assert running.refresh().status is JobStatus.RUNNING

    @pytest.mark.parametrize("failure", ["auth", "throttled", "unreachable"])
    def test_errors_survive_pickling(
        self, request: pytest.FixtureRequest, provider: Provider, finished: Run, failure: Failure
    ) -> None:
        _fail_next(request)(failure)
        with pytest.raises(ProviderError) as caught:
            provider.poll(finished.ref)
        copy: FineTuneError = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
        assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))

    def test_a_lost_answer_to_submit_is_one_job_and_it_is_adopted(
        self, request: pytest.FixtureRequest, provider: Provider, reopen: Reopen, spec: JobSpec
    ) -> None:
        _fail_next(request)("lost answer")
        job = FineTuneJob.submit(spec, home=provider.home)
        assert job.record.ref is not None
        assert job.record.ref == reopen().find(job.id)

    def test_an_unknown_status_word_is_no_crash_and_changes_nothing(
        self, request: pytest.FixtureRequest, running: FineTuneJob
    ) -> None:
        _fail_next(request)("unknown word")
        seen = running.refresh()
        assert seen.status is JobStatus.RUNNING
        assert seen.raw_status
        assert any(event.level == "warning" and seen.raw_status in event.message for event in running.events())

    def test_no_secret_is_in_a_repr_a_plan_or_a_file(
        self, request: pytest.FixtureRequest, provider: Provider, spec: JobSpec, finished: Run
    ) -> None:
        secret: str = optional(request, "secret")
        texts = [repr(provider), str(vars(provider)), _text(provider.plan(spec)), _text(finished.events)]
        assert not any(secret in text for text in texts)
        holders = [
            str(path) for path in provider.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
        ]
        assert holders == []

    def test_no_secret_is_in_an_error_or_a_log_line(
        self,
        request: pytest.FixtureRequest,
        provider: Provider,
        finished: Run,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        secret: str = optional(request, "secret")
        _fail_next(request)("auth")
        with caplog.at_level(logging.DEBUG), pytest.raises(AuthFailed) as caught:
            provider.poll(finished.ref)
        assert secret not in f"{caught.value!r} {vars(caught.value)} {caplog.text}"


def _ref(job: FineTuneJob) -> str:
    ref = job.record.ref
    assert ref is not None, f"job {job.id} has no reference"
    return ref


def _fail_next(request: pytest.FixtureRequest) -> FailNext:
    fail_next: FailNext = optional(request, "fail_next")
    return fail_next


def _text(value: object) -> str:
    return json.dumps(msgspec.to_builtins(value))
