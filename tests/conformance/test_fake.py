"""The fake provider keeps every promise: it is the control of the suite itself."""

from __future__ import annotations

from suite_fixtures import FakeFixtures

from finetune_sdk.testing.conformance import ProviderConformance


class TestFake(FakeFixtures, ProviderConformance):
    """All of it."""
