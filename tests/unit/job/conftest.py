"""A home whose provider `fake` is the SDK's fake, for the tests of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune_sdk.registry import standing_in
from finetune_sdk.testing.fake import FakeProvider


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Iterator[Path]:
    with standing_in("fake", lambda home: FakeProvider(home=home)):
        yield tmp_path / "home"


@pytest.fixture
def fake(home: Path) -> FakeProvider:
    """As another process would see the jobs of `home`."""
    return FakeProvider(home=home)
