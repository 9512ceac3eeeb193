"""The fake provider keeps every promise: it is the control of the suite itself."""

from __future__ import annotations

from finetune_sdk.testing.conformance import ProviderConformance
from suite_fixtures import FakeFixtures


class TestFake(FakeFixtures, ProviderConformance):
    """All of it."""
