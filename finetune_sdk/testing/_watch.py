"""What the promises are checked with: a whole run looked at from outside, and what lies in a folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.provider import Provider
from finetune_sdk.testing._vendor import Failure
from finetune_sdk.types import Event, JobState, JobStatus

Reopen = Callable[[], Provider]
FailNext = Callable[[Failure], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job from its submission to its end, as the provider told it."""

    job_id: str
    ref: str
    states: Sequence[JobState]
    events: Sequence[Event]

    @property
    def end(self) -> JobState:
        """The last observation."""
        return self.states[-1]


def watch(provider: Provider, ref: str, *, patience_s: float, poll_s: float) -> list[JobState]:
    """Every observation until the job is over or paused; fails the test when that takes too long."""
    deadline = time.monotonic() + patience_s
    states = [provider.poll(ref)]
    while not at_rest(states[-1]):
        assert time.monotonic() < deadline, f"the job is still {states[-1].status} after {patience_s:g} s"
        time.sleep(poll_s)
        states.append(provider.poll(ref))
    return states


def at_rest(state: JobState) -> bool:
    """True when nothing will happen by itself."""
    return state.known and (state.status.terminal or state.status is JobStatus.PAUSED)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with the hash of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def folder_sha256(path: Path) -> str:
    """The hash that `Artifact.sha256` holds: of the file, or of a folder's sorted `<sha256>  <relative path>` lines."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(tree(path).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def optional(request: pytest.FixtureRequest, name: str) -> Any:
    """The author's fixture `name`; skips the test where there is none."""
    try:
        return request.getfixturevalue(name)
    except pytest.FixtureLookupError:
        pytest.skip(f"there is no fixture {name!r}")


def needs(provider: Provider, feature: str) -> None:
    """Skips the test where the provider does not claim the feature."""
    if not provider.capabilities.claim(f"feature.{feature}").support:
        pytest.skip(f"{provider.name} does not claim feature.{feature}")
