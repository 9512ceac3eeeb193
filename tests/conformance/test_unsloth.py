"""The unsloth provider keeps every promise, with jobs that really train in its own environment."""

from __future__ import annotations

from typing import ClassVar

import peft_jobs
import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from worker_fixtures import WorkerFixtures

from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.conformance import ProviderConformance
from finetune_sdk.worker.provider import WorkerProvider


class TestUnsloth(WorkerFixtures, ProviderConformance):
    """All of it."""

    kind: ClassVar[type[WorkerProvider]] = UnslothProvider
    patience_s: ClassVar[float] = 600.0
    poll_s: ClassVar[float] = 0.2

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
