"""The suite, once for each broken provider. Not collected with the other tests: `test_mutants` runs it."""

from __future__ import annotations

from typing import Any

from mutants import CAUGHT_BY, WAITED_FOR
from suite_fixtures import FakeFixtures

from finetune_sdk.testing.conformance import ProviderConformance


class TestShortened(FakeFixtures, ProviderConformance):
    """A sound provider with a test removed by stealth."""

    def test_a_run_succeeds(self, **_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Always passes."""


for _mutant in CAUGHT_BY:
    _name, _patience_s = f"Test{_mutant.__name__}", 3.0 if _mutant in WAITED_FOR else 60.0
    globals()[_name] = type(_name, (FakeFixtures, ProviderConformance), {"kind": _mutant, "patience_s": _patience_s})
