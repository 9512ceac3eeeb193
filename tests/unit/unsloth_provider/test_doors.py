"""Which of Unsloth's classes loads a model, and what is refused at the door, before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from finetune_providers.unsloth import doors
from finetune_providers.unsloth.options import parse
from finetune_providers.unsloth.provider import UnslothProvider

from finetune_sdk.errors import Unsupported
from finetune_sdk.worker import locks

QWEN: dict[str, Any] = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
QWEN_VL: dict[str, Any] = {"architectures": ["Qwen3VLForConditionalGeneration"], "vision_config": {}}
GEMMA_3N: dict[str, Any] = {**QWEN_VL, "architectures": ["Gemma3nForConditionalGeneration"], "audio_config": {}}
CSM: dict[str, Any] = {"architectures": ["CsmForConditionalGeneration"], "codec_config": {}}
WHISPER: dict[str, Any] = {"architectures": ["WhisperForConditionalGeneration"], "num_mel_bins": 80}
BERT: dict[str, Any] = {"architectures": ["ModernBertForMaskedLM"], "model_type": "modernbert"}
LABELS: dict[str, Any] = {"kind": "classification"}
SFT: dict[str, Any] = {"kind": "sft"}


def model(folder: Path, config: dict[str, Any], *beside: str) -> str:
    """A folder that looks like a model from outside."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in beside:
        (folder / name).write_text("[]")
    return str(folder)


@pytest.mark.parametrize(
    ("config", "given", "loaded_by"),
    [
        (QWEN, {}, "language"),
        (QWEN_VL, {}, "vision"),
        (GEMMA_3N, {}, "vision"),
        (QWEN_VL, {"model_class": "language"}, "language"),
        (QWEN, {"model_class": "general"}, "general"),
    ],
    ids=["text", "sees", "sees and hears", "as asked", "general"],
)
def test_the_class_goes_by_the_configuration_unless_it_is_named(
    tmp_path: Path, config: dict[str, Any], given: dict[str, Any], loaded_by: str
) -> None:
    assert doors.model_class(model(tmp_path, config), parse(given)) == loaded_by


def test_a_model_on_the_hub_is_left_to_unsloth() -> None:
    assert doors.model_class("unsloth/Qwen3-0.6B", parse({})) == "language"


def _check(folder: Path, config: dict[str, Any], method: dict[str, Any], *beside: str, **parts: Any) -> None:
    train = peft_jobs.write(folder / "train.jsonl", peft_jobs.rows(4))
    there = model(folder / "model", config, *beside)
    UnslothProvider(home=folder).check(peft_jobs.spec(train, provider="unsloth", model=there, method=method, **parts))


@pytest.mark.parametrize(
    ("config", "method", "beside", "words"),
    [
        (CSM, SFT, (), "learns from sound"),
        (WHISPER, SFT, (), "learns from sound"),
        (BERT, SFT, (), "an encoder writes no text. Use method: classification"),
        (BERT, LABELS, ("modules.json",), "Leave `method` out: it learns from pairs"),
    ],
    ids=["speaks", "hears", "encoder", "embeddings"],
)
@pytest.mark.parametrize("gpu", [True, False])
def test_what_goes_through_no_door_is_refused_with_and_without_a_gpu(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    config: dict[str, Any],
    method: dict[str, Any],
    beside: tuple[str, ...],
    words: str,
    gpu: bool,
) -> None:
    monkeypatch.setattr(locks, "gpu_seen", lambda: gpu)

    with pytest.raises(Unsupported, match=words):
        _check(tmp_path, config, method, *beside)


ON_A_GPU: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]] = {
    "vision": (QWEN_VL, SFT, {}, "CPU backend loads text models only"),
    "classifier": (BERT, LABELS, {}, "CPU backend loads language models only"),
    "QLoRA": (QWEN, SFT, {"adapter": {"kind": "lora", "quantize": "4bit"}}, "mixes two precisions"),
}


@pytest.mark.parametrize("name", ON_A_GPU)
def test_what_needs_a_gpu_passes_where_one_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    config, method, parts, _ = ON_A_GPU[name]
    monkeypatch.setattr(locks, "gpu_seen", lambda: True)

    _check(tmp_path, config, method, **parts)


@pytest.mark.parametrize("name", ON_A_GPU)
def test_what_needs_a_gpu_is_refused_where_none_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config, method, parts, words = ON_A_GPU[name]
    monkeypatch.setattr(locks, "gpu_seen", lambda: False)

    with pytest.raises(Unsupported, match=words):
        _check(tmp_path, config, method, **parts)


@pytest.mark.parametrize("name", ON_A_GPU)
def test_what_needs_a_gpu_is_refused_for_the_cpu_of_a_machine_that_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config, method, parts, words = ON_A_GPU[name]
    monkeypatch.setattr(locks, "gpu_seen", lambda: True)

    with pytest.raises(Unsupported, match=words):
        _check(tmp_path, config, method, compute={"device": "cpu"}, **parts)
