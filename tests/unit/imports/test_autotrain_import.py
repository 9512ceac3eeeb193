"""AutoTrain's configuration files become our specs, and no key is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click.testing
import pytest
import yaml

from finetune_sdk import config
from finetune_sdk._document import is_mapping
from finetune_sdk.cli._app import cli
from finetune_sdk.errors import SpecError
from finetune_sdk.imports import Imported, read

COLUMNS: dict[str, dict[str, str]] = {
    "llm-sft": {"text_column": "talk"},
    "llm-generic": {"text_column": "talk"},
    "llm-dpo": {"prompt_text_column": "q", "text_column": "good", "rejected_text_column": "bad"},
    "llm-orpo": {"prompt_text_column": "q", "text_column": "good", "rejected_text_column": "bad"},
    "llm-reward": {"text_column": "good", "rejected_text_column": "bad"},
    "text-classification": {"text_column": "body", "target_column": "class"},
    "text_regression": {"text_column": "body", "target_column": "class"},
    "token-classification": {"tokens_column": "words", "tags_column": "ner"},
    "seq2seq": {"text_column": "source", "target_column": "goal"},
    "sentence-transformers:pair": {"sentence1_column": "a", "sentence2_column": "b"},
    "st:pair_class": {"sentence1_column": "a", "sentence2_column": "b", "target_column": "c"},
    "st:pair_score": {"sentence1_column": "a", "sentence2_column": "b", "target_column": "c"},
    "st:triplet": {"sentence1_column": "a", "sentence2_column": "b", "sentence3_column": "c"},
    "st:qa": {"sentence1_column": "a", "sentence2_column": "b"},
}


def document(task: str = "llm-sft", **parts: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "task": task,
        "base_model": "owner/model",
        "project_name": "my-project",
        "log": "tensorboard",
        "backend": "local",
        "data": {
            "path": "data/",
            "train_split": "train",
            "valid_split": None,
            "column_mapping": COLUMNS.get(task, {}),
            "chat_template": "tokenizer",
        },
        "params": {"epochs": 2, "batch_size": 1, "lr": 3e-5, "mixed_precision": "bf16"},
        "hub": {"username": "${HF_USERNAME}", "token": "${HF_TOKEN}", "push_to_hub": True},
    }
    for name, value in parts.items():
        whole[name] = {**whole[name], **value} if isinstance(value, dict) else value
    return whole


def imported(folder: Path, *args: Any, **parts: Any) -> Imported:
    path = folder / "autotrain.yml"
    path.write_text(yaml.safe_dump(document(*args, **parts)))
    return read(path)


def leaves(value: Any, prefix: str = "") -> list[str]:
    if not is_mapping(value) or not value:
        return [prefix.removeprefix(".")]
    return [leaf for key, item in value.items() for leaf in leaves(item, f"{prefix}.{key}")]


@pytest.mark.parametrize("task", COLUMNS)
def test_every_key_of_every_task_is_mapped_or_reported(tmp_path: Path, task: str) -> None:
    found = imported(tmp_path, task, params={"no_such": 1, "unsloth": True, "peft": True, "block_size": 64})
    told = {one.key for one in found.mapped} | {finding.path for finding in found.findings}
    assert [
        leaf
        for leaf in leaves(document(task, params={"no_such": 1, "unsloth": True, "peft": True, "block_size": 64}))
        if leaf not in told
    ] == []


@pytest.mark.parametrize("task", COLUMNS)
def test_what_is_made_is_a_spec_and_survives_the_round_trip(tmp_path: Path, task: str) -> None:
    found = imported(tmp_path, task)
    out = tmp_path / "out.yaml"
    out.write_text(found.yaml)
    assert config.load(out).model_dump() | {"data": None} == config.load(found.document).model_dump() | {"data": None}


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        ("llm-sft", {"messages": "talk"}),
        ("llm-dpo", {"prompt": "q", "chosen": "good", "rejected": "bad"}),
        ("text-classification", {"text": "body", "label": "class"}),
        ("token-classification", {"tokens": "words", "tags": "ner"}),
        ("st:triplet", {"anchor": "a", "positive": "b", "negative": "c"}),
    ],
)
def test_columns_are_named_as_ours(tmp_path: Path, task: str, columns: dict[str, str]) -> None:
    assert imported(tmp_path, task).document["data"]["columns"] == columns


def test_parameters_become_common_fields(tmp_path: Path) -> None:
    params = {"peft": True, "quantization": "int8", "lora_r": 4, "target_modules": "q_proj,v_proj", "block_size": 512}
    found = imported(tmp_path, params={**params, "seed": 7, "disable_gradient_checkpointing": True})
    spec = config.load(found.document)
    assert spec.hyperparameters.model_dump(exclude_defaults=True) == {
        "epochs": 2.0,
        "batch_size": 1,
        "learning_rate": 3e-5,
        "max_seq_length": 512,
        "precision": "bf16",
        "gradient_checkpointing": False,
    }
    assert spec.adapter is not None
    assert spec.adapter.model_dump(exclude_defaults=True) == {
        "r": 4,
        "target_modules": ("q_proj", "v_proj"),
        "quantize": "8bit",
    }
    assert spec.seed == 7


def test_what_only_autotrain_knows_goes_to_its_options(tmp_path: Path) -> None:
    found = imported(tmp_path, params={"max_prompt_length": 64, "merge_adapter": True})
    assert found.document["options"]["autotrain"] == {"max_prompt_length": 64, "merge_adapter": True}


def test_the_trainer_may_stand_among_the_parameters(tmp_path: Path) -> None:
    found = imported(tmp_path, "llm", params={"trainer": "orpo"})
    assert found.document["method"] == {"kind": "orpo"}


def test_a_text_column_without_chat_template_is_plain_text(tmp_path: Path) -> None:
    found = imported(tmp_path, "llm", data={"chat_template": None, "column_mapping": {"text_column": "body"}})
    assert (found.document["method"], found.document["data"]["columns"]) == ({"kind": "pretraining"}, {"text": "body"})


def test_the_hidden_default_of_four_bits_is_said(tmp_path: Path) -> None:
    found = imported(tmp_path, params={"peft": True})
    assert found.document["adapter"]["quantize"] == "4bit"
    assert "quantization-default" in {finding.rule for finding in found.findings}


def test_a_space_becomes_the_machine_to_rent(tmp_path: Path) -> None:
    found = imported(tmp_path, backend="spaces-a10g-largex4")
    assert found.document["compute"] == {"kind": "hf-space", "flavor": "a10g-largex4"}


def test_files_beside_the_config_are_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("text\na\n")
    (tmp_path / "data" / "dev.jsonl").write_text("{}\n")
    found = imported(tmp_path, data={"valid_split": "dev"})
    assert found.document["data"]["train"] == str(tmp_path / "data" / "train.csv")
    assert found.document["data"]["validation"] == str(tmp_path / "data" / "dev.jsonl")
    assert "validation-was-dropped" in {finding.rule for finding in found.findings}


def test_a_token_in_the_file_goes_nowhere(tmp_path: Path) -> None:
    found = imported(tmp_path, hub={"token": "hf_abcdefghijklmnopqrstuvwx"})
    assert "hf_abcdefghijklmnopqrstuvwx" not in found.yaml + str(found)


def test_variables_are_not_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_USERNAME", "somebody")
    assert "somebody" not in imported(tmp_path, project_name="${HF_USERNAME}").yaml


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("tabular", "xgboost"),
        ("image-classification", "images"),
        ("vlm:vqa", "images"),
        ("extractive-qa", "context"),
        ("llm-ppo", "did you mean 'llm-dpo'"),
        ("text-clasification", "did you mean 'text-classification'"),
    ],
)
def test_a_task_that_nobody_trains_is_refused_with_the_reason(tmp_path: Path, task: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        imported(tmp_path, task)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("provider: peft\nmodel: x\n", "no importer knows this document"),
        ("- 1\n", "a mapping of keys"),
        ("a: [1\n", "line|:2"),
        ("", "a mapping of keys"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(SpecError, match=reason):
        read(path)


def test_the_command_writes_the_spec_and_tells_the_rest(tmp_path: Path) -> None:
    source, out = tmp_path / "autotrain.yml", tmp_path / "specs" / "job.yaml"
    source.write_text(yaml.safe_dump(document()))
    done = click.testing.CliRunner().invoke(cli, ["import", str(source), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert config.load(out).provider == "autotrain"
    assert "hub.token" in done.stderr


def test_the_command_speaks_json(tmp_path: Path) -> None:
    source = tmp_path / "autotrain.yml"
    source.write_text(yaml.safe_dump(document()))
    done = click.testing.CliRunner().invoke(cli, ["import", str(source), "--format", "json"])
    assert json.loads(done.stdout)["spec"]["model"] == "owner/model"


@pytest.mark.parametrize(
    ("data", "source", "rule"),
    [
        ({"path": "owner/name", "train_split": "train_sft"}, "hf://datasets/owner/name#train_sft", None),
        ({"path": "owner/name", "train_split": "en:train"}, "hf://datasets/owner/name/en#train", "hub-subset"),
        ({"path": "samsum", "train_split": "train"}, "hf://datasets/samsum/samsum#train", "hub-name"),
        ({"path": "./rows", "train_split": "train"}, "rows/train.jsonl", "data-not-found"),
    ],
    ids=["split", "subset", "no owner", "folder"],
)
def test_what_lies_on_the_hub_is_named_as_the_hub_does(
    tmp_path: Path, data: dict[str, Any], source: str, rule: str | None
) -> None:
    found = imported(tmp_path, data=data)
    assert found.document["data"]["train"] == source
    told = {finding.rule for finding in found.findings} & {"hub-subset", "hub-name", "data-not-found"}
    assert told == ({rule} if rule else set())


def test_no_key_is_left_without_a_word(tmp_path: Path) -> None:
    found = imported(tmp_path, "llm-sft", params={"trainer": "orpo", "padding": "right"})
    told = {one.key for one in found.mapped} | {finding.path for finding in found.findings}
    assert {"params.trainer", "params.padding", "task"} <= told
