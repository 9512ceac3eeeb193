"""The onnx provider keeps every promise, with jobs that really train and export."""

from __future__ import annotations

from typing import ClassVar

import onnx_jobs
import peft_jobs
import pytest
from finetune_providers.onnx.provider import OnnxProvider
from worker_fixtures import WorkerFixtures

from finetune_sdk.spec import JobSpec
from finetune_sdk.testing.conformance import ProviderConformance
from finetune_sdk.worker.provider import WorkerProvider


class TestOnnx(WorkerFixtures, ProviderConformance):
    """All of it."""

    kind: ClassVar[type[WorkerProvider]] = OnnxProvider
    patience_s: ClassVar[float] = 900.0  # the first job builds the environment
    poll_s: ClassVar[float] = 0.1

    @pytest.fixture(scope="class")
    @classmethod
    def spec(cls, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
        train = peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(40))
        return onnx_jobs.spec(
            train,
            {"precision": "int4", "tolerance": {"max_perplexity_increase": None, "max_metric_drop": None}},
            data={"train": str(train), "validation": 0.2},
            hyperparameters={"max_steps": 3, "save_steps": 1, "batch_size": 4},
            evaluation={"max_new_tokens": 2},
        )
