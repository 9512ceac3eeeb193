"""`ProviderConformance`: what every provider promises, as a test class. See docs/writing-a-provider.md.

A provider's whole test file is its fixtures and one line:

    class TestMine(ProviderConformance): ...

Fixtures, of class scope or wider. Required: `provider`, `reopen` (a function that answers a new object over the same
backend, as after a restart), `spec` (a short job that succeeds). Optional, without which their tests are skipped:
`long_spec` (a job that runs for a while; else `spec`), `failing_spec`, `preempted_spec` (a job that the backend pauses
by itself and lets go on), `secret` (the key in use), `fail_next` (a function that makes the backend fail next time:
"auth", "throttled", "unreachable", "lost answer", "unknown word"), `kill_worker` (a function that kills the process
that trains a reference).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import Any, ClassVar

import pytest

from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Provider
from finetune_sdk.registry import standing_in
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._promises_plan import PlanPromises
from finetune_sdk.testing._promises_run import RunPromises
from finetune_sdk.testing._promises_verbs import VerbPromises
from finetune_sdk.testing._watch import Reopen, Run, watch


class ProviderConformance(PlanPromises, RunPromises, VerbPromises):
    """The promises of a provider. No test may be removed; one that cannot pass yet is overridden with a strict xfail:

    @pytest.mark.xfail(reason="the vendor lists jobs with a delay of minutes")
    def test_a_new_object_finds_the_job_by_its_key(self, reopen, finished): ...
    """

    patience_s: ClassVar[float] = 30.0
    """Seconds that one job may take from its submission to its end. Training for real needs more."""
    poll_s: ClassVar[float] = 0.01
    """Seconds between two looks at a job."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _at_the_door(cls, provider: Provider, reopen: Reopen) -> Generator[None]:
        """The provider's name leads to a new object over the author's backend, every time."""
        with standing_in(provider.name, lambda home: reopen()):  # noqa: ARG005 - the author's object has its home
            yield

    @pytest.fixture(scope="class")
    @classmethod
    def finished(cls, provider: Provider, spec: JobSpec, _at_the_door: None) -> Run:
        """One job that has run to its end."""
        job = FineTuneJob.submit(spec, home=provider.home)
        ref = job.record.ref
        assert ref is not None
        states = watch(provider, ref, patience_s=cls.patience_s, poll_s=cls.poll_s)
        return Run(job_id=job.id, ref=ref, states=states, events=provider.events(ref))

    def test_no_standard_test_is_removed_or_replaced(self) -> None:
        lost = [name for name, test in _tests(ProviderConformance).items() if _lost(getattr(type(self), name), test)]
        assert lost == [], "a standard test may only be overridden with pytest.mark.xfail(reason=...)"


def _tests(cls: type) -> dict[str, Callable[..., Any]]:
    return {name: test for name, test in inspect.getmembers(cls, callable) if name.startswith("test_")}


def _lost(found: Any, standard: Callable[..., Any]) -> bool:
    if found is standard:
        return False
    marks: list[pytest.Mark] = getattr(found, "pytestmark", [])
    return not any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
