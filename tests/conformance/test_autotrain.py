"""The autotrain provider keeps every promise, with jobs that really train in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import autotrain_models as tiny
import pytest
from finetune_providers.autotrain.provider import AutoTrainProvider
from worker_fixtures import WorkerFixtures

from finetune_sdk.provider import Provider
from finetune_sdk.spec import JobSpec
from finetune_sdk.testing._watch import Run
from finetune_sdk.testing.conformance import ProviderConformance
from finetune_sdk.worker.provider import WorkerProvider


class TestAutoTrain(WorkerFixtures, ProviderConformance):
    """All of it."""

    kind: ClassVar[type[WorkerProvider]] = AutoTrainProvider
    long: ClassVar[Mapping[str, object]] = {"max_steps": 100_000, "learning_rate": 1e-9}
    patience_s: ClassVar[float] = 400.0
    poll_s: ClassVar[float] = 0.2

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

    def test_what_it_trained_is_served_until_that_is_ended(self, provider: Provider, finished: Run) -> None:
        [trained] = [one for one in provider.artifacts(finished.ref) if one.kind in ("adapter", "model")]
        made = provider.deploy(trained, name="tones")
        try:
            assert (made.status, made.provider) == ("ready", "autotrain")
            assert provider.deployment("tones") == made
            assert provider.deployments() == [made]
        finally:
            provider.undeploy("tones")
        assert provider.deployment("tones").status == "stopped"
