"""The conformance suite's fixtures for a hosted provider over the stand-in service."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import pytest
from wire import stub
from wire.helpers import job_spec

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import FailNext, Reopen

LONG, FAILING, PREEMPTED = "long-model", "failing-model", "preempted-model"
SCRIPTS = {
    LONG: ("queued", "running"),
    FAILING: ("queued", "running", "failed"),
    PREEMPTED: ("queued", "running", "paused", "paused", "queued", "running", "succeeded"),
}


class HostedFixtures:
    """Mix in before `ProviderConformance`."""

    kind: ClassVar[type[Provider]]
    dialect: ClassVar[str]
    key_variable: ClassVar[str]

    @classmethod
    def options(cls, port: int) -> dict[str, Any]:
        """The provider's options that lead to the service."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def service(cls) -> Generator[stub.Running]:
        with stub.serving(stub.Service(dialect=stub.DIALECTS[cls.dialect], scripts=SCRIPTS)) as running:
            yield running
            assert running.service.violations == []

    @pytest.fixture(scope="class")
    @classmethod
    def secret(cls) -> Generator[str]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(cls.key_variable, stub.KEY)
            yield stub.KEY

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
    def spec(cls, tmp_path_factory: pytest.TempPathFactory, service: stub.Running) -> JobSpec:
        base = job_spec(tmp_path_factory.mktemp("data"), "", provider=cls.kind.name)
        options = {"reconcile_wait_s": 0.01, **cls.options(service.port)}
        return base.model_copy(update={"options": {cls.kind.name: options}, "model": "a-model"})

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, spec: JobSpec) -> JobSpec:
        return spec.model_copy(update={"model": LONG})

    @pytest.fixture(scope="class")
    @classmethod
    def failing_spec(cls, spec: JobSpec) -> JobSpec:
        return spec.model_copy(update={"model": FAILING})

    @pytest.fixture(scope="class")
    @classmethod
    def preempted_spec(cls, spec: JobSpec) -> JobSpec:
        return spec.model_copy(update={"model": PREEMPTED})

    @pytest.fixture(scope="class")
    @classmethod
    def fail_next(cls, service: stub.Running) -> FailNext:
        return service.service.failures.append
