"""The conformance suite's fixtures for one class of fake provider, sound or broken."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest
from fakes import SECRET, fake_spec, write_rows

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import FailNext, Reopen
from finetune_sdk.testing.fake import FakeProvider

LONG = ["queued", "running"]
"""Runs until somebody stops it."""


class FakeFixtures:
    """Mix in before `ProviderConformance`; `kind` is the class under test."""

    kind: type[FakeProvider] = FakeProvider

    @pytest.fixture(scope="class")
    @classmethod
    def secret(cls) -> Generator[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FAKE_API_KEY", SECRET)
            yield SECRET

    @pytest.fixture(scope="class")
    @classmethod
    def reopen(cls, tmp_path_factory: pytest.TempPathFactory, secret: str) -> Reopen:  # noqa: ARG003 - set before
        home = tmp_path_factory.mktemp("home")
        return lambda: cls.kind(home=home)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, reopen: Reopen) -> Provider:
        return reopen()

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        return fake_spec(write_rows(tmp_path_factory.mktemp("data")))

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, spec: JobSpec) -> JobSpec:
        return _scripted(spec, script=LONG)

    @pytest.fixture(scope="class")
    @classmethod
    def failing_spec(cls, spec: JobSpec) -> JobSpec:
        return _scripted(spec, script=["queued", "running", "failed"])

    @pytest.fixture(scope="class")
    @classmethod
    def preempted_spec(cls, spec: JobSpec) -> JobSpec:
        return _scripted(spec, script=["queued", "running", "paused", "paused", "running", "succeeded"])

    @pytest.fixture(scope="class")
    @classmethod
    def fail_next(cls, provider: Provider) -> FailNext:
        assert isinstance(provider, FakeProvider)
        return provider.vendor.fail_next


def _scripted(spec: JobSpec, **options: Any) -> JobSpec:
    return spec.model_copy(update={"options": {"fake": options}})
