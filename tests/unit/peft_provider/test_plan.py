"""Planning with the peft provider: every "auto" settled with its reason, bad input refused before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.errors import DataError, FineTuneError, SpecError, Unsupported
from finetune_sdk.provider import Plan

TINY_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(20))


@pytest.fixture
def provider(tmp_path: Path) -> PeftProvider:
    return PeftProvider(home=tmp_path / "home")


def _folder(path: Path, *names: str, template: str | None = None) -> Path:
    """A model folder of empty files, which is all that planning looks at."""
    path.mkdir()
    for name in names:
        (path / name).write_text(json.dumps({"chat_template": template}) if name == "tokenizer_config.json" else "{}")
        if name.endswith(".safetensors"):
            (path / name).write_bytes((2).to_bytes(8, "little") + b"{}")
    return path


def _plan(provider: PeftProvider, train: Path, **parts: Any) -> Plan:
    return provider.plan(peft_jobs.spec(train, **parts))


def test_the_built_in_model_trains_its_embeddings_and_head_and_says_why(provider: PeftProvider, train: Path) -> None:
    plan = _plan(provider, train)

    assert plan.request["adapter"]["modules_to_save"] == ["embed_tokens", "lm_head"]  # type: ignore[index,call-overload]
    assert [note for note in plan.notes if note.startswith("adapter.modules_to_save") and "random weights" in note]


@pytest.mark.parametrize(("adapter", "rate"), [("lora", 3e-3), ("full", 1e-3)], ids=["an adapter", "all weights"])
def test_the_learning_rate_follows_from_what_is_trained(
    provider: PeftProvider, train: Path, adapter: str, rate: float
) -> None:
    plan = _plan(provider, train, adapter=adapter)

    assert plan.request["training"]["learning_rate"] == rate  # type: ignore[index,call-overload]


def test_a_learning_rate_multiplier_scales_the_providers_own_rate(provider: PeftProvider, train: Path) -> None:
    plan = _plan(provider, train, hyperparameters={"learning_rate_multiplier": 0.5})

    assert plan.request["training"]["learning_rate"] == 1.5e-3  # type: ignore[index,call-overload]


def test_a_seed_is_drawn_from_the_spec_so_that_plans_repeat(provider: PeftProvider, train: Path) -> None:
    first, second = (_plan(provider, train, seed=None) for _ in range(2))

    assert first == second
    assert [note for note in first.notes if note.startswith("seed: ")]


def test_training_here_costs_nothing(provider: PeftProvider, train: Path) -> None:
    cost = _plan(provider, train).cost

    assert cost.usd == 0.0
    assert cost.tokens


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"model": "builtin/huge"}, "builtin/tiny"),
        ({"model": "./no/such/folder"}, "there is no folder"),
        ({"model": "not a model!"}, "there is no folder"),
        ({"options": {"peft": {"trust_remote": True}}}, "Did you mean 'trust_remote_code'"),
        ({"options": {"peft": {"keep_checkpoints": 0}}}, "options.peft.keep_checkpoints"),
        ({"hyperparameters": {"early_stopping": {}}}, "early_stopping needs validation rows"),
        ({"hyperparameters": {"eval_steps": 3}}, "eval_steps needs validation rows"),
        ({"evaluation": {}}, "evaluation needs held-out rows"),
        ({"hyperparameters": {"precision": "fp16"}, "compute": {"device": "cpu"}}, "fp16 needs a GPU"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_spec_is_refused_with_the_remedy(
    provider: PeftProvider, train: Path, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        _plan(provider, train, **parts)


def test_a_tracker_that_is_not_installed_is_refused_with_the_command(provider: PeftProvider, train: Path) -> None:
    with pytest.raises(Unsupported, match="pip install wandb"):
        provider.check(peft_jobs.spec(train, report_to=["wandb"]))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("tokenizer.json", "model.safetensors"), "no config.json"),
        (("adapter_config.json",), "holds an adapter, not a model"),
        (("config.json", "model.safetensors"), "has no tokenizer"),
        (("config.json", "tokenizer.json", "pytorch_model.bin"), "no weights in safetensors format"),
        (TINY_MODEL, "has no chat template"),
    ],
    ids=["no configuration", "an adapter", "no tokenizer", "pickled weights", "no chat template"],
)
def test_a_model_folder_that_cannot_be_trained_is_refused_before_anything_is_loaded(
    provider: PeftProvider, train: Path, tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    model = _folder(tmp_path / "model", *names)

    with pytest.raises(SpecError, match=words):
        _plan(provider, train, model=str(model))


@pytest.mark.parametrize("given", ["in the folder", "in the options", "pairs of texts"])
def test_a_chat_template_may_come_from_elsewhere_or_not_be_needed(
    provider: PeftProvider, train: Path, tmp_path: Path, given: str
) -> None:
    model = _folder(tmp_path / "model", *TINY_MODEL, template="{{ messages }}" if given == "in the folder" else None)
    options = {"peft": {"chat_template": "{{ messages }}"}} if given == "in the options" else {}
    if given == "pairs of texts":
        train = peft_jobs.write(
            tmp_path / "pairs.jsonl", [{"prompt": f"{i}?", "completion": f"{i}!"} for i in range(9)]
        )

    assert _plan(provider, train, model=str(model), options=options).errors == ()


@pytest.mark.parametrize(
    "text",
    [b"", b'{"messages": 3}\n' * 9, b"\xff\xfe\xfd" * 9],
    ids=["empty", "wrong shape", "not UTF-8"],
)
def test_data_that_cannot_be_trained_on_is_refused(provider: PeftProvider, tmp_path: Path, text: bytes) -> None:
    (tmp_path / "bad.jsonl").write_bytes(text)

    with pytest.raises(FineTuneError):
        _submit(provider, tmp_path / "bad.jsonl")

    assert not (provider.home / "jobs").exists()


def test_data_that_changed_after_planning_is_refused(provider: PeftProvider, train: Path) -> None:
    plan = _plan(provider, train)
    peft_jobs.write(train, peft_jobs.rows(21))

    with pytest.raises(DataError, match="changed"):
        provider.submit(plan, key="job")


def _submit(provider: PeftProvider, train: Path) -> None:
    plan = _plan(provider, train)
    if plan.errors:
        raise DataError(str(plan.errors[0]))
    provider.submit(plan, key="job")
