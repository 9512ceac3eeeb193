"""The unsloth provider keeps every promise, with jobs that really train in its own environment."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import peft_jobs
import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from managed_envs import managed_home

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.conformance import ProviderConformance

Reopen = Callable[[], Provider]


class TestUnsloth(ProviderConformance):
    """All of it."""

    patience_s: ClassVar[float] = 600.0
    poll_s: ClassVar[float] = 0.2

    @pytest.fixture(scope="class")
    @classmethod
    def reopen(cls, tmp_path_factory: pytest.TempPathFactory) -> Reopen:
        home = managed_home(tmp_path_factory.mktemp("home"))
        return lambda: UnslothProvider(home=home)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, reopen: Reopen) -> Provider:
        return reopen()

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        train = peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(40))
        return peft_jobs.spec(
            train,
            provider="unsloth",
            compute={"environment": "managed", "threads": 1},
            data={"validation": 0.2},
            hyperparameters={"max_steps": 3, "save_steps": 1},
            evaluation={"max_new_tokens": 2},
        )

    @pytest.fixture(scope="class")
    @classmethod
    def long_spec(cls, spec: JobSpec) -> JobSpec:
        return _with(spec, max_steps=5000, save_steps=1000, learning_rate=1e-6)

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
    return JobSpec.model_validate(
        {
            **spec.model_dump(mode="json"),
            "hyperparameters": {"batch_size": 4, "max_steps": 3, **knobs},
            "evaluation": None,
        }
    )


def _worker_pid(record: Path) -> int:
    """The supervisor writes it a moment after the job counts as running."""
    deadline = time.monotonic() + 60
    while "worker_pid" not in (found := json.loads(record.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found["worker_pid"])
