"""What the autotrain provider makes of a job description, and what it refuses: nothing is trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.autotrain.provider import AutoTrainProvider

from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
PAIR: dict[str, Any] = {"prompt": "a", "chosen": "b", "rejected": "c"}
LABEL: dict[str, Any] = {"text": "a", "label": "b"}
ROWS = {"sft": CHAT, "dpo": PAIR, "orpo": PAIR, "reward": PAIR, "classification": LABEL, "pretraining": {"text": "a"}}


def plan(folder: Path, *, row: dict[str, Any] | None = None, task: str | None = None, **parts: Any) -> Plan:
    method = parts.get("method", "sft")
    line = row or ROWS[method["kind"] if isinstance(method, dict) else method]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for _ in range(8)))
    options = {**({"task": task} if task else {}), **parts.pop("options", {})}
    whole = {"provider": "autotrain", "model": "owner/name", "data": {"train": str(file)}, **parts}
    return AutoTrainProvider(home=folder).plan(JobSpec.model_validate({**whole, "options": {"autotrain": options}}))


def parameters(made: Plan) -> dict[str, Any]:
    found = made.request["parameters"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ("sft", "llm-sft"),
        ("pretraining", "llm-generic"),
        ("dpo", "llm-dpo"),
        ("orpo", "llm-orpo"),
        ("reward", "llm-reward"),
        ("classification", "text-classification"),
    ],
)
def test_a_method_means_a_task(tmp_path: Path, method: str, task: str) -> None:
    assert plan(tmp_path, method=method).request["task"] == task


def test_common_fields_become_autotrains_parameters(tmp_path: Path) -> None:
    knobs = {
        "learning_rate": 1e-4, "epochs": 2, "batch_size": 3, "gradient_accumulation": 5, "scheduler": "cosine",
        "warmup_ratio": 0.2, "weight_decay": 0.1, "max_grad_norm": 2.0, "optimizer": "sgd", "max_seq_length": 4096,
        "precision": "bf16", "gradient_checkpointing": False, "log_steps": 7,
    }  # fmt: skip
    adapter = {"kind": "lora", "r": 4, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
    made = plan(
        tmp_path, method={"kind": "dpo", "beta": 0.3}, hyperparameters=knobs, adapter=adapter, seed=9,
        report_to=["tensorboard"],
    )  # fmt: skip
    assert parameters(made) == {
        "lr": 1e-4,
        "epochs": 2,
        "batch_size": 3,
        "gradient_accumulation": 5,
        "scheduler": "cosine",
        "warmup_ratio": 0.2,
        "weight_decay": 0.1,
        "max_grad_norm": 2.0,
        "optimizer": "sgd",
        "block_size": 4096,
        "model_max_length": 4096,
        "mixed_precision": "bf16",
        "disable_gradient_checkpointing": True,
        "logging_steps": 7,
        "dpo_beta": 0.3,
        "peft": True,
        "quantization": None,
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.1,
        "target_modules": "q_proj,v_proj",
        "log": "tensorboard",
        "seed": 9,
    }


def test_what_is_left_open_is_autotrains_default_and_said(tmp_path: Path) -> None:
    assert "lr: 3e-05 (AutoTrain's default)" in plan(tmp_path).notes


def test_four_bits_are_never_a_default(tmp_path: Path) -> None:
    """AutoTrain's own is int4."""
    assert parameters(plan(tmp_path))["quantization"] is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_prompt_lenght": 64}, "Did you mean 'max_prompt_length'"),
        ({"no_such_thing": 1}, "no parameter 'no_such_thing'"),
        ({"lr": 0.1}, "write it as `hyperparameters.learning_rate`"),
        ({"token": "x"}, "the provider sets it"),
        ({"text_column": "body"}, r"data\.columns"),
        ({"max_prompt_length": "64"}, "must be of type int"),
        ({"merge_adapter": 1}, "must be of type bool"),
        ({"chat_template": "llama"}, "one of tokenizer, chatml, zephyr, none"),
        ({"chat_template": "none"}, "takes texts as they are, and the data are conversations"),
        ({"chat_template": None}, "takes texts as they are, and the data are conversations"),
        ({"task": "llm-ppo"}, "there is no 'llm-ppo'"),
        ({"task": "llm-dpo"}, "goes with method dpo"),
        ({"allow_remote_code": "yes"}, "true or false"),
    ],
)
def test_options_it_does_not_know_are_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan(tmp_path, options=options)


@pytest.mark.parametrize("template", ["tokenizer", "chatml", "zephyr"])
def test_a_chat_template_of_autotrains_reaches_its_trainer(tmp_path: Path, template: str) -> None:
    assert parameters(plan(tmp_path, options={"chat_template": template}))["chat_template"] == template


@pytest.mark.parametrize("template", ["none", None])
def test_without_a_chat_template_strings_are_learned_as_they_are(tmp_path: Path, template: str | None) -> None:
    row = {"prompt": "Say it. ", "completion": "It."}
    found = plan(tmp_path, options={"chat_template": template}, row=row)
    assert (parameters(found)["chat_template"], found.request["options"]) == (
        None,
        {"allow_remote_code": False, "as_they_are": True},
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"task": "tabular"}, "xgboost"),
        ({"task": "image-classification"}, "images"),
        ({"task": "vlm:vqa"}, "images"),
        ({"adapter": {"kind": "lora", "quantize": "4bit"}, "compute": {"device": "cpu"}}, "bitsandbytes 0.45.0"),
        ({"adapter": {"kind": "lora", "dora": True}}, "dora"),
        ({"method": "classification", "adapter": "lora"}, "trains all weights"),
        ({"hyperparameters": {"packing": False}}, "always packs"),
        ({"method": "dpo", "hyperparameters": {"packing": True}}, "never packs"),
        ({"hyperparameters": {"early_stopping": {}}}, "no such knob"),
        ({"hyperparameters": {"learning_rate_multiplier": 2}}, "absolute rates"),
        ({"method": {"kind": "sft", "train_on": "last_assistant"}}, "masks nothing"),
    ],
)
def test_what_autotrain_cannot_do_is_refused_with_the_reason(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(Unsupported, match=words):
        plan(tmp_path, **parts)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"hyperparameters": {"epochs": 0.5}}, "whole epochs"),
        ({"hyperparameters": {"precision": "fp16"}, "compute": {"device": "cpu"}}, "needs a GPU"),
        ({"adapter": {"kind": "lora", "alpha": 1.5}}, "whole numbers"),
        ({"model": "builtin/tiny"}, "made by the peft provider"),
        ({"model": "./nowhere"}, "there is no folder"),
    ],
)
def test_values_it_cannot_take_are_refused(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan(tmp_path, **parts)


@pytest.mark.parametrize(
    ("task", "row", "rule"),
    [
        ("text-regression", {"text": "a", "label": "b"}, "label-type"),
        ("token-classification", {"text": "a b", "label": ["O"]}, "tags-count"),
        ("token-classification", LABEL, "label-type"),
        ("st:pair_class", LABEL, "text-pair"),
        ("text-classification", {"text": "a", "text_pair": "b", "label": "c"}, "text-pair"),
        ("text-classification", {"text": "a", "label": ["b", "c"]}, "label-several"),
    ],
)
def test_rows_a_task_cannot_learn_from_are_errors(tmp_path: Path, task: str, row: dict[str, Any], rule: str) -> None:
    assert rule in {finding.rule for finding in plan(tmp_path, method="classification", task=task, row=row).errors}


def test_weights_and_tools_are_errors_before_anything_runs(tmp_path: Path) -> None:
    weighted = {"messages": [CHAT["messages"][0], {**CHAT["messages"][1], "weight": 0}]}
    assert plan(tmp_path, row=weighted).errors


def test_the_loss_on_questions_is_said(tmp_path: Path) -> None:
    assert any(note.startswith("loss: on every token") for note in plan(tmp_path).notes)
