"""Providers broken on purpose, each in one way, each with the promise that must notice: the tests of the suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import JsonValue

from finetune_sdk.errors import AuthFailed, ProviderError, Throttled, Unreachable, Unsupported
from finetune_sdk.provider import YES, Capabilities, Plan
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._vendor import VendorDown, VendorError
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import Artifact, Checkpoint, Event, JobState, JobStatus


def _claiming(**claims: Any) -> Capabilities:
    return Capabilities(claims={**FakeProvider.capabilities.claims, **claims}, limits=FakeProvider.capabilities.limits)


class ClaimsAMethodItRefuses(FakeProvider):
    capabilities = _claiming(**{"method.orpo": YES})

    def plan(self, spec: JobSpec) -> Plan:
        if spec.method.kind == "orpo":
            raise Unsupported(self.name, "orpo", "Do not.")
        return super().plan(spec)


class ClaimsAVerbItLacks(FakeProvider):
    capabilities = _claiming(**{"method.kto": replace(YES, source="https://example.com")})


class RefusesNothing(FakeProvider):
    def check(self, spec: JobSpec) -> None:
        """Lets everything pass."""


class DropsAKnob(FakeProvider):
    def plan(self, spec: JobSpec) -> Plan:
        plan = super().plan(spec)
        request: Any = {**plan.request, "hyperparameters": {"n_epochs": str(spec.hyperparameters.epochs)}}
        return replace(plan, request=request)


class PlansDifferently(FakeProvider):
    count: ClassVar[int] = 0

    def plan(self, spec: JobSpec) -> Plan:
        type(self).count += 1
        plan = super().plan(spec)
        return replace(plan, request={**plan.request, "count": self.count})


class WritesWhilePlanning(FakeProvider):
    def plan(self, spec: JobSpec) -> Plan:
        plan = super().plan(spec)
        (self.home / "plan.json").write_text(repr(plan))
        return plan


class ReadsOtherRows(FakeProvider):
    def plan(self, spec: JobSpec) -> Plan:
        plan = super().plan(spec)
        return replace(plan, data=tuple(replace(file, rows=file.rows - 1) for file in plan.data))


class TakesAnyOption(FakeProvider):
    def plan(self, spec: JobSpec) -> Plan:
        known = {key: value for key, value in spec.options.get("fake", {}).items() if key in ("script", "usd")}
        return super().plan(spec.model_copy(update={"options": {"fake": known}}))


class WritesWhenConstructed(FakeProvider):
    def __init__(self, *, home: Path, config: Mapping[str, JsonValue] | None = None) -> None:
        super().__init__(home=home, config=config)
        (home / "fake.log").write_text("hello")


class SucceedsWithoutAModel(FakeProvider):
    def poll(self, ref: str) -> JobState:
        return replace(super().poll(ref), model=None)


class FailsWithoutAReason(FakeProvider):
    def poll(self, ref: str) -> JobState:
        return replace(super().poll(ref), error=None)


class KeepsStateInMemory(FakeProvider):
    def __init__(self, *, home: Path, config: Mapping[str, JsonValue] | None = None) -> None:
        super().__init__(home=home, config=config)
        self._refs: dict[str, str] = {}

    def submit(self, plan: Plan, *, key: str) -> str:
        self._refs[key] = super().submit(plan, key=key)
        return self._refs[key]

    def find(self, key: str) -> str | None:
        return self._refs.get(key)


class FindsAStrangersJob(FakeProvider):
    def find(self, key: str) -> str | None:
        return super().find(key) or next((job["id"] for job in self.vendor.jobs()), None)


class IgnoresAfter(FakeProvider):
    def events(self, ref: str, after: str | None = None) -> list[Event]:
        return super().events(ref)


class NewestEventFirst(FakeProvider):
    def events(self, ref: str, after: str | None = None) -> list[Event]:
        return super().events(ref, after)[::-1]


class SameCursorTwice(FakeProvider):
    def events(self, ref: str, after: str | None = None) -> list[Event]:
        return [event for event in super().events(ref, after) for _ in range(2)]


class NewestCheckpointFirst(FakeProvider):
    def checkpoints(self, ref: str) -> list[Checkpoint]:
        return super().checkpoints(ref)[::-1]


class CannotCancelTwice(FakeProvider):
    def cancel(self, ref: str) -> None:
        try:
            self.vendor.cancel(ref)
        except VendorError as exc:
            raise ProviderError(str(exc)) from exc


class DoesNotCancel(FakeProvider):
    def cancel(self, ref: str) -> None:
        """Forgets to ask the vendor."""


class RaisesTheVendorsError(FakeProvider):
    def poll(self, ref: str) -> JobState:
        self.vendor.retrieve(ref)
        return super().poll(ref)


class ThrottlesWithoutATime(FakeProvider):
    def poll(self, ref: str) -> JobState:
        try:
            return super().poll(ref)
        except Throttled as exc:
            raise Throttled(str(exc)) from exc


class _Unpicklable(AuthFailed):
    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), ())


class RaisesWhatDoesNotPickle(FakeProvider):
    def poll(self, ref: str) -> JobState:
        try:
            return super().poll(ref)
        except AuthFailed as exc:
            raise _Unpicklable(str(exc)) from exc


class GoesBackwards(FakeProvider):
    def poll(self, ref: str) -> JobState:
        state = super().poll(ref)
        late = any(event.metrics for event in self.events(ref)[:-1])
        return replace(state, status=JobStatus.QUEUED) if late and state.status is JobStatus.RUNNING else state


class ComesBackFromTheDead(FakeProvider):
    def poll(self, ref: str) -> JobState:
        state = super().poll(ref)
        seen = self.home / f"{ref}.seen"
        if state.status.terminal and seen.exists():
            return JobState(status=JobStatus.RUNNING)
        if state.status.terminal:
            seen.touch()
        return state


class StumblesOverANewWord(FakeProvider):
    def poll(self, ref: str) -> JobState:
        state = super().poll(ref)
        return JobState(status=JobStatus(state.raw_status or "")) if not state.known else state


class TakesANewWordForFailure(FakeProvider):
    def poll(self, ref: str) -> JobState:
        state = super().poll(ref)
        return state if state.known else replace(state, status=JobStatus.FAILED, error="unknown word", known=True)


class CallsALostAnswerARefusal(FakeProvider):
    def submit(self, plan: Plan, *, key: str) -> str:
        try:
            return self.vendor.create(plan.request, token=key)
        except VendorDown as exc:
            raise Unreachable(str(exc)) from exc


class SubmitsAgain(FakeProvider):
    def submit(self, plan: Plan, *, key: str) -> str:
        try:
            return self.vendor.create(plan.request, token=key)
        except VendorDown:
            return self.vendor.create(plan.request, token=key)


class StatesAWrongHash(FakeProvider):
    def artifacts(self, ref: str) -> list[Artifact]:
        return [replace(artifact, sha256="0" * 64) for artifact in super().artifacts(ref)]


class ShowsItsKey(FakeProvider):
    def __repr__(self) -> str:
        return f"ShowsItsKey({self.vendor._key!r})"  # pyright: ignore[reportPrivateUsage]


class PlansItsKey(FakeProvider):
    def plan(self, spec: JobSpec) -> Plan:
        plan = super().plan(spec)
        return replace(plan, request={**plan.request, "api_key": self.vendor._key})  # pyright: ignore[reportPrivateUsage]


class LeaksItsKeyInErrors(FakeProvider):
    def poll(self, ref: str) -> JobState:
        try:
            self.vendor.retrieve(ref)
        except VendorError as exc:
            if exc.status == 401:
                raise AuthFailed(str(exc)) from exc
        return super().poll(ref)


class PausesForEver(FakeProvider):
    def resume(self, ref: str) -> None:
        """Forgets to ask the vendor."""


class TakesEveryPauseForRest(FakeProvider):
    def poll(self, ref: str) -> JobState:
        return replace(super().poll(ref), held=True)


CAUGHT_BY: Mapping[type[FakeProvider], str] = {
    ClaimsAMethodItRefuses: "test_what_is_claimed_is_planned",
    ClaimsAVerbItLacks: "test_every_limit_and_every_outside_claim_says_where_and_when_it_was_read",
    RefusesNothing: "test_what_is_not_claimed_is_refused_by_name_with_a_remedy",
    DropsAKnob: "test_no_claimed_knob_is_ignored",
    PlansDifferently: "test_a_plan_is_the_same_twice_and_from_a_new_object",
    WritesWhilePlanning: "test_planning_writes_nothing",
    ReadsOtherRows: "test_the_rows_are_read_as_everywhere_else",
    TakesAnyOption: "test_an_unknown_option_of_its_own_is_refused_by_name",
    WritesWhenConstructed: "test_constructing_needs_no_credentials_and_leaves_no_trace",
    SucceedsWithoutAModel: "test_success_has_a_model",
    FailsWithoutAReason: "test_failure_has_a_reason",
    KeepsStateInMemory: "test_a_new_object_finds_the_job_by_its_key",
    FindsAStrangersJob: "test_a_key_that_was_never_submitted_is_not_found",
    IgnoresAfter: "test_events_after_a_cursor_are_exactly_the_later_ones",
    NewestEventFirst: "test_events_come_oldest_first",
    SameCursorTwice: "test_there_are_events_each_with_its_own_cursor",
    NewestCheckpointFirst: "test_checkpoints_come_lowest_step_first",
    CannotCancelTwice: "test_cancelling_twice_is_cancelling_once",
    DoesNotCancel: "test_a_cancelled_job_stops",
    RaisesTheVendorsError: "test_a_reference_that_does_not_exist_is_not_found[poll]",
    ThrottlesWithoutATime: "test_throttling_says_for_how_long",
    RaisesWhatDoesNotPickle: "test_errors_survive_pickling[auth]",
    GoesBackwards: "test_a_status_never_goes_backwards",
    ComesBackFromTheDead: "test_a_terminal_status_is_final",
    StumblesOverANewWord: "test_an_unknown_status_word_is_no_crash_and_changes_nothing",
    TakesANewWordForFailure: "test_an_unknown_status_word_is_no_crash_and_changes_nothing",
    CallsALostAnswerARefusal: "test_a_lost_answer_to_submit_is_one_job_and_it_is_adopted",
    SubmitsAgain: "test_a_lost_answer_to_submit_is_one_job_and_it_is_adopted",
    StatesAWrongHash: "test_every_local_artifact_has_the_hash_it_states",
    ShowsItsKey: "test_no_secret_is_in_a_repr_a_plan_or_a_file",
    PlansItsKey: "test_no_secret_is_in_a_repr_a_plan_or_a_file",
    LeaksItsKeyInErrors: "test_no_secret_is_in_an_error_or_a_log_line",
    TakesEveryPauseForRest: "test_a_pause_that_nobody_asked_for_is_waited_out_and_told_once",
    PausesForEver: "test_a_paused_job_rests_and_goes_on_when_resumed",
}
"""Each broken provider, and the test that must fail for it."""

WAITED_FOR = (DoesNotCancel, TakesANewWordForFailure)
"""Those whose jobs never end: who waits for them should not do so for long."""
