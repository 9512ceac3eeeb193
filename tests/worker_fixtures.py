"""The conformance suite's fixtures for a provider whose worker trains on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pytest
import worker_jobs
from managed_envs import managed_home

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import Reopen
from finetune_sdk.worker import wire
from finetune_sdk.worker.provider import WorkerProvider


class WorkerFixtures:
    """Mix in before `ProviderConformance`; a class says its `kind` and gives the fixture `spec`."""

    kind: ClassVar[type[WorkerProvider]]
    long: ClassVar[Mapping[str, object]] = {"max_steps": 5000, "save_steps": 1000, "learning_rate": 1e-6}
    """Hyperparameters with which the job of `spec` runs until somebody stops it."""
    failing: ClassVar[Mapping[str, object]] = {"optimizer": "adamx"}
    """Hyperparameters with which it fails once it runs."""

    @pytest.fixture(scope="class")
    @classmethod
    def reopen(cls, tmp_path_factory: pytest.TempPathFactory) -> Reopen:
        home = managed_home(tmp_path_factory.mktemp("home"))
        return lambda: cls.kind(home=home)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, reopen: Reopen) -> Provider:
        return reopen()

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, spec: JobSpec) -> JobSpec:
        return _with(spec, cls.long)

    @pytest.fixture(scope="class")
    @classmethod
    def failing_spec(cls, spec: JobSpec) -> JobSpec:
        return _with(spec, cls.failing)

    @pytest.fixture(scope="class")
    @classmethod
    def kill_worker(cls, provider: Provider) -> Callable[[str], None]:
        def kill(ref: str) -> None:
            os.kill(_worker_pid(provider.home / "jobs" / ref), 9)

        return kill


def _with(spec: JobSpec, knobs: Mapping[str, object]) -> JobSpec:
    given = {**spec.hyperparameters.model_dump(mode="json", exclude_defaults=True), **knobs}
    return JobSpec.model_validate({**spec.model_dump(mode="json"), "hyperparameters": given, "evaluation": None})


def _worker_pid(folder: Path) -> int:
    """The supervisor writes it a moment after the job counts as running."""
    worker_jobs.until(lambda: "worker_pid" in (wire.read_json(folder / wire.PROCESS) or {}))
    return worker_jobs.pid(folder, "worker_pid")
