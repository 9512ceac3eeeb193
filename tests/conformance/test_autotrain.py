"""The autotrain provider keeps every promise, with jobs that really train in its environment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import autotrain_models as tiny
import pytest
from finetune_providers.autotrain.provider import AutoTrainProvider
from managed_envs import managed_home

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.conformance import ProviderConformance

Reopen = Callable[[], Provider]


class TestAutoTrain(ProviderConformance):
    """All of it."""

    patience_s: ClassVar[float] = 400.0
    poll_s: ClassVar[float] = 0.2

    @pytest.fixture(scope="class")
    @classmethod
    def reopen(cls, tmp_path_factory: pytest.TempPathFactory) -> Reopen:
        home = managed_home(tmp_path_factory.mktemp("home"))
        return lambda: AutoTrainProvider(home=home)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, reopen: Reopen) -> Provider:
        return reopen()

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        folder = tmp_path_factory.mktemp("data")
        return JobSpec.model_validate(
            {
                "provider": "autotrain",
                "model": tiny.make(folder)["causal"],
                "data": {"train": tiny.rows(folder / "train.jsonl", tiny.chats()), "validation": 0.2},
                "compute": {"environment": "managed", "threads": 1},
                "hyperparameters": {"max_steps": 3, "batch_size": 2, "gradient_accumulation": 1, "max_seq_length": 64},
                "evaluation": {"max_new_tokens": 2},
                "seed": 0,
            }
        )

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, spec: JobSpec) -> JobSpec:
        return _with(spec, max_steps=100_000, learning_rate=1e-9)

    @pytest.fixture(scope="class")
    @classmethod
    def failing_spec(cls, spec: JobSpec) -> JobSpec:
        return _with(spec, optimizer="adamx")

    @pytest.fixture(scope="class")
    @classmethod
    def kill_worker(cls, provider: Provider) -> Callable[[str], None]:
        def kill(ref: str) -> None:
            os.kill(_worker_pid(provider.home / "jobs" / ref / "process.json"), 9)

        return kill


def _with(spec: JobSpec, **knobs: object) -> JobSpec:
    given = {**spec.hyperparameters.model_dump(mode="json", exclude_defaults=True), **knobs}
    return JobSpec.model_validate({**spec.model_dump(mode="json"), "hyperparameters": given, "evaluation": None})


def _worker_pid(record: Path) -> int:
    """The supervisor writes it a moment after the job counts as running."""
    deadline = time.monotonic() + 30
    while "worker_pid" not in (found := json.loads(record.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found["worker_pid"])
