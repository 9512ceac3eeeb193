"""Command lines of Olive, as guides show them, become our specs; no flag is forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_sdk.errors import SpecError
from finetune_sdk.imports import Imported, read

FINETUNE = """\
#!/bin/sh
pip install olive-ai
olive finetune --method {method} -m meta-llama/Llama-3.2-1B-Instruct --trust_remote_code -o models/llama/ft \\
  -d json --data_files train.jsonl --train_split "train[:90%]" --eval_split "train[90%:]" \\
  --text_template "<|user|>\\n{{phrase}}<|end|>\\n<|assistant|>\\n{{tone}}" --max_steps 100 --learning_rate=0.0002 \\
  --per_device_train_batch_size 4 --lora_r 16 --target_modules q_proj,v_proj --logging_dir logs
"""
OPTIMISE = """\
olive auto-opt -m models/llama/ft/model -a models/llama/ft/adapter --device cpu --provider CPUExecutionProvider \\
  --use_ort_genai --precision int4 -o models/llama/onnx-ao --log_level 1
"""


def imported(folder: Path, text: str) -> Imported:
    file = folder / "steps.sh"
    file.write_text(text)
    return read(file)


def test_a_fine_tuning_and_the_export_of_what_it_made_become_one_job(tmp_path: Path) -> None:
    found = imported(tmp_path, FINETUNE.format(method="lora") + OPTIMISE)
    made = found.document
    assert made["model"] == "meta-llama/Llama-3.2-1B-Instruct"
    assert made["adapter"] == {"kind": "lora", "r": 16, "target_modules": ["q_proj", "v_proj"]}
    assert made["data"] == {
        "train": "train.jsonl",
        "validation": 0.1,
        "columns": {"prompt": "phrase", "completion": "tone"},
    }
    assert made["options"]["onnx"] == {"trust_remote_code": True, "precision": "int4", "device": "cpu"}
    assert {finding.rule for finding in found.findings} == {"import-template"}


def test_qlora_holds_the_base_in_four_bits(tmp_path: Path) -> None:
    made = imported(tmp_path, FINETUNE.format(method="qlora")).document
    assert made["adapter"]["quantize"] == "4bit"


def test_a_flag_without_counterpart_is_reported(tmp_path: Path) -> None:
    found = imported(tmp_path, FINETUNE.format(method="lora").rstrip() + " --max_samples 256 --task_name chat\n")
    told = {finding.path for finding in found.findings if finding.rule == "import-key"}
    assert told == {"finetune.max_samples", "finetune.task_name"}


def test_several_adapters_over_one_base_stay_apart(tmp_path: Path) -> None:
    text = (
        FINETUNE.format(method="lora")
        + "olive generate-adapter --base_model_path base --adapter_paths a/one,b/two -o x\n"
    )
    options = imported(tmp_path, text).document["options"]["onnx"]
    assert (options["merge"], options["adapters"]) == (False, {"one": "a/one", "two": "b/two"})


def test_run_reads_the_configuration_beside_the_shell_file(tmp_path: Path) -> None:
    configuration = {
        "input_model": {"type": "HfModel", "model_path": "owner/model"},
        "passes": {"train": {"type": "LoRA", "r": 8}},
        "data_configs": [{"name": "rows", "load_dataset_config": {"data_name": "json", "data_files": "rows.jsonl"}}],
    }
    (tmp_path / "run.json").write_text(json.dumps(configuration))
    made = imported(tmp_path, "olive run --config run.json\n").document
    assert (made["model"], made["adapter"]) == ("owner/model", {"kind": "lora", "r": 8})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("olive tune-session-params -m a\n", "has no counterpart here; these have: finetune"),
        ("olive run --config missing.json\n", "cannot read"),
        ("olive finetune --method loftq -m a -d b\n", "--method loftq"),
    ],
)
def test_a_command_that_cannot_be_turned_over_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        imported(tmp_path, text)


def test_commands_that_name_no_rows_leave_a_place_for_them(tmp_path: Path) -> None:
    found = imported(tmp_path, "olive generate-adapter --base_model_path base --adapter_paths a/one,b/two\n")
    assert found.document["data"] == {"train": "rows.jsonl"}
    assert set(found.document["options"]["onnx"]["adapters"].values()) == {"a/one", "b/two"}
    assert [finding.rule for finding in found.findings] == ["import-rows"]
