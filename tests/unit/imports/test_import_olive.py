"""Olive's run configurations become our specs, and no key is forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finetune_sdk.errors import SpecError
from finetune_sdk.imports import Imported, read


def imported(folder: Path, **parts: Any) -> Imported:
    whole: dict[str, Any] = {
        "input_model": {"type": "HfModel", "model_path": "owner/model"},
        "data_configs": [
            {
                "name": "rows",
                "load_dataset_config": {"data_name": "json", "data_files": "train.jsonl", "split": "train"},
                "pre_process_data_config": {"text_template": "<|user|>{phrase}<|end|>{tone}", "max_seq_len": 128},
            }
        ],
        "passes": {
            "train": {"type": "QLoRA", "r": 8, "training_args": {"learning_rate": 0.001, "max_steps": 20}},
            "merge": {"type": "MergeAdapterWeights"},
            "build": {"type": "ModelBuilder", "precision": "int4"},
        },
        "output_dir": "out",
        **parts,
    }
    file = folder / "olive.json"
    file.write_text(json.dumps(whole))
    return read(file)


def test_training_merging_and_building_become_one_job(tmp_path: Path) -> None:
    made = imported(tmp_path).document
    assert made["adapter"] == {"kind": "lora", "quantize": "4bit", "r": 8}
    assert made["hyperparameters"]["max_steps"] == 20
    assert made["options"]["onnx"]["precision"] == "int4"


def test_a_template_of_two_fields_becomes_columns_and_is_pointed_out(tmp_path: Path) -> None:
    found = imported(tmp_path)
    assert found.document["data"]["columns"] == {"prompt": "phrase", "completion": "tone"}
    assert "import-template" in {finding.rule for finding in found.findings}


def test_an_unknown_pass_is_refused_with_its_neighbour(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"passes\.a: Olive has no pass 'LoRaa'.*LoRA"):
        imported(tmp_path, passes={"a": {"type": "LoRaa"}})


def test_passes_without_counterpart_are_left_to_olive(tmp_path: Path) -> None:
    options = imported(tmp_path, passes={"a": {"type": "LoKr", "r": 4}}).document["options"]["onnx"]
    assert (options["engine"], options["olive"]) == ("olive", {"passes": {"a": {"type": "LoKr", "r": 4}}})


def test_a_search_is_left_to_olive_with_all_that_it_needs(tmp_path: Path) -> None:
    sizes = {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": [16, 32]}
    found = imported(
        tmp_path,
        passes={"a": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": sizes}},
        search_strategy={"sampler": "sequential"},
        evaluators={"e": {"metrics": []}},
        evaluator="e",
    )
    kept = found.document["options"]["onnx"]["olive"]
    assert set(kept) == {"passes", "search_strategy", "evaluators", "evaluator"}


def test_a_key_without_counterpart_is_reported(tmp_path: Path) -> None:
    found = imported(tmp_path, search_strategy={"sampler": "tpe"})
    assert "search_strategy.sampler" in {finding.path for finding in found.findings}
