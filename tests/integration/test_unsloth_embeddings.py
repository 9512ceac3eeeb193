"""Sentence embeddings through Unsloth's FastSentenceTransformer, trained for real in Unsloth's environment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import autotrain_models
import peft_jobs
import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from managed_envs import managed_home

from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus
from finetune_sdk.worker import locks

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
POOLING = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder, saved as sentence-transformers does."""
    folder = Path(autotrain_models.make(tmp_path_factory.mktemp("models"))["encoder"])
    (folder / "modules.json").write_text(json.dumps(MODULES))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(POOLING))
    return folder


def spec(folder: Path, model: Path, row: dict[str, Any] | None = None, **parts: Any) -> JobSpec:
    rows = [{"anchor": f"hello number {i}", "positive": f"greeting {i}", **(row or {})} for i in range(24)]
    usual: dict[str, Any] = {
        "model": str(model),
        "compute": {"environment": "managed", "threads": 1},
        "hyperparameters": {"max_steps": 6, "save_steps": 3, "learning_rate": 0.01, "max_seq_length": 64},
        "data": {"validation": 0.25},
    }
    for name, value in parts.items():
        usual[name] = {**usual[name], **value} if name in usual and isinstance(value, dict) else value
    return peft_jobs.spec(peft_jobs.write(folder / "train.jsonl", rows), provider="unsloth", **usual)


@pytest.fixture(scope="module")
def job(model: Path, tmp_path_factory: pytest.TempPathFactory) -> peft_jobs.Ran:
    folder = tmp_path_factory.mktemp("embeddings")
    provider = UnslothProvider(home=managed_home(folder / "home"))
    wanted = spec(folder, model, adapter={"kind": "lora", "r": 4}, compute={"device": "cpu"})
    ran = peft_jobs.Ran(provider, provider.submit(provider.plan(wanted), key="job"))
    ran.end()
    return ran


def test_pairs_of_texts_train_without_a_gpu(job: peft_jobs.Ran) -> None:
    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    assert len(job.losses) == 6
    assert job.state.metrics["settings_changed"] == 0


def test_validation_pairs_are_evaluated(job: peft_jobs.Ran) -> None:
    assert job.state.metrics["eval_loss"] > 0


def test_adapter_and_a_merged_model_that_sentence_transformers_loads_are_left(job: peft_jobs.Ran) -> None:
    assert {artifact.kind for artifact in job.provider.artifacts(job.ref)} >= {"adapter", "merged", "receipt"}
    merged = job.folder / "artifacts" / "merged"
    assert [one["idx"] for one in json.loads((merged / "modules.json").read_text())] == [0, 1]
    assert "sentence-similarity" in (merged / "README.md").read_text()


def test_the_merged_embeddings_differ_from_the_base(job: peft_jobs.Ran) -> None:
    [event] = [event for event in job.provider.events(job.ref) if event.message.startswith("merged: ")]
    assert event.metrics["weights_changed"] > 0


REFUSED: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "method": ({"method": {"kind": "dpo"}}, Unsupported, "Leave `method` out"),
    "evaluation": ({"evaluation": {}}, Unsupported, "sentence embeddings write no answers"),
    "packing": ({"hyperparameters": {"packing": True}}, SpecError, "are not packed"),
    "batch": ({"hyperparameters": {"batch_size": 1}}, SpecError, "other rows of its batch"),
    "QLoRA": ({"adapter": {"kind": "lora", "quantize": "4bit"}}, Unsupported, "mixes two precisions"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_for_embeddings_is_refused_while_planning(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parts, kind, words = REFUSED[name]
    monkeypatch.setattr(locks, "gpu_seen", lambda: False)

    with pytest.raises(kind, match=words):
        UnslothProvider(home=tmp_path).plan(spec(tmp_path, model, **parts))


def test_embeddings_of_a_decoder_need_a_gpu(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = shutil.copytree(model, tmp_path / "decoder")
    config = json.loads((decoder / "config.json").read_text())
    (decoder / "config.json").write_text(json.dumps({**config, "model_type": "qwen3"}))
    wanted, provider = spec(tmp_path, decoder), UnslothProvider(home=tmp_path)

    monkeypatch.setattr(locks, "gpu_seen", lambda: False)
    with pytest.raises(Unsupported, match="computes encoders only there"):
        provider.plan(wanted)
    monkeypatch.setattr(locks, "gpu_seen", lambda: True)
    assert provider.plan(wanted).request["data_method"] == "embedding"


def test_conversations_are_no_rows_for_embeddings(tmp_path: Path, model: Path) -> None:
    wanted = spec(tmp_path, model)
    peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(8))

    plan = UnslothProvider(home=tmp_path).plan(wanted)
    assert plan.errors
