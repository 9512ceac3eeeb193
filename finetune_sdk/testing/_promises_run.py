"""Promises about one run from its submission to its end, looked at from many sides: the suite trains it once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import pytest

from finetune_sdk.errors import JobNotFound
from finetune_sdk.job import AsyncFineTuneJob, FineTuneJob
from finetune_sdk.provider import Provider
from finetune_sdk.testing._watch import Reopen, Run, folder_sha256, needs, watch
from finetune_sdk.types import Event, JobStatus

_ORDER = ("preparing", "validating", "queued", "running", "paused", "cancelling", "succeeded", "failed", "cancelled")
_TOGETHER = {"paused": "running", "failed": "succeeded", "cancelled": "succeeded"}  # the same height
_MANY = 40  # cursors tried; a long run has thousands


class RunPromises:
    """What holds for a job that runs to its end undisturbed."""

    patience_s: ClassVar[float]
    poll_s: ClassVar[float]

    def test_a_run_succeeds(self, finished: Run) -> None:
        assert (finished.end.status, finished.end.error) == (JobStatus.SUCCEEDED, None)

    def test_a_status_never_goes_backwards(self, finished: Run) -> None:
        heights = [_height(state.status) for state in finished.states]
        assert heights == sorted(heights), [str(state.status) for state in finished.states]

    def test_a_terminal_status_is_final(self, provider: Provider, finished: Run) -> None:
        assert [provider.poll(finished.ref).status for _ in range(3)] == [finished.end.status] * 3

    def test_success_has_a_model(self, finished: Run) -> None:
        assert finished.end.model

    def test_a_new_object_knows_the_job(self, reopen: Reopen, finished: Run) -> None:
        assert reopen().poll(finished.ref) == finished.end

    def test_a_new_object_finds_the_job_by_its_key(self, reopen: Reopen, finished: Run) -> None:
        needs(reopen(), "find")
        assert reopen().find(finished.job_id) == finished.ref

    def test_a_key_that_was_never_submitted_is_not_found(self, provider: Provider, finished: Run) -> None:
        needs(provider, "find")
        assert provider.find("ft-0000000000") is None

    def test_there_are_events_each_with_its_own_cursor(self, finished: Run) -> None:
        cursors = [event.cursor for event in finished.events]
        assert cursors
        assert len(set(cursors)) == len(cursors)

    def test_events_come_oldest_first(self, finished: Run) -> None:
        times = [event.at for event in finished.events]
        assert times == sorted(times)

    def test_events_after_a_cursor_are_exactly_the_later_ones(self, provider: Provider, finished: Run) -> None:
        events = list(finished.events)
        for index in range(0, len(events), max(1, len(events) // _MANY)):
            assert provider.events(finished.ref, after=events[index].cursor) == events[index + 1 :]

    def test_after_the_last_cursor_there_is_nothing(self, provider: Provider, finished: Run) -> None:
        assert provider.events(finished.ref, after=finished.events[-1].cursor) == []

    def test_following_hands_on_every_event_of_the_provider(self, provider: Provider, finished: Run) -> None:
        job = FineTuneJob.attach(finished.job_id, home=provider.home)
        job.wait(timeout_s=self.patience_s, poll_s=self.poll_s)
        assert _from_provider(job.follow(poll_s=0.01)) == list(finished.events)

    def test_sync_and_async_agree_event_for_event(self, provider: Provider, finished: Run) -> None:
        async def followed() -> list[Event]:
            job = await AsyncFineTuneJob.attach(finished.job_id, home=provider.home)
            return [event async for event in job.follow(poll_s=0.01)]

        job = FineTuneJob.attach(finished.job_id, home=provider.home)
        job.wait(timeout_s=self.patience_s, poll_s=self.poll_s)
        assert asyncio.run(followed()) == list(job.follow(poll_s=0.01))

    def test_checkpoints_come_lowest_step_first(self, provider: Provider, finished: Run) -> None:
        steps = [checkpoint.step for checkpoint in provider.checkpoints(finished.ref)]
        assert steps == sorted(steps)

    def test_claimed_checkpoints_exist(self, provider: Provider, finished: Run) -> None:
        needs(provider, "checkpoints")
        assert provider.checkpoints(finished.ref)

    def test_every_local_artifact_has_the_hash_it_states(self, provider: Provider, finished: Run) -> None:
        needs(provider, "artifacts")
        local = [one for one in provider.artifacts(finished.ref) if one.sha256 is not None]
        assert [folder_sha256(Path(one.uri)) for one in local] == [one.sha256 for one in local]

    def test_success_leaves_something_that_names_its_base_model(self, provider: Provider, finished: Run) -> None:
        needs(provider, "artifacts")
        models = [
            one for one in provider.artifacts(finished.ref) if one.kind in ("adapter", "merged", "model", "hosted")
        ]
        assert models
        assert all(one.base_model for one in models)

    def test_cancelling_a_finished_job_changes_nothing(self, provider: Provider, finished: Run) -> None:
        needs(provider, "cancel")
        provider.cancel(finished.ref)
        assert provider.poll(finished.ref) == finished.end

    @pytest.mark.parametrize("verb", ["poll", "events"])
    def test_a_reference_that_does_not_exist_is_not_found(self, provider: Provider, finished: Run, verb: str) -> None:
        with pytest.raises(JobNotFound):
            getattr(provider, verb)(finished.ref + "-no")

    def test_the_job_at_rest_needs_no_more_polls(self, provider: Provider, finished: Run) -> None:
        assert len(watch(provider, finished.ref, patience_s=1, poll_s=0)) == 1


def _height(status: JobStatus) -> int:
    return _ORDER.index(_TOGETHER.get(status.value, status.value))


def _from_provider(events: Iterable[Event]) -> list[Event]:
    """Without those that the SDK adds."""
    return [event for event in events if not event.cursor.startswith("sdk-")]
