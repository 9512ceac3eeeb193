"""`engine: olive` before anything runs: what is refused, which passes are chosen, how many rows are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from finetune_providers.onnx.provider import OnnxProvider

from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Plan
from finetune_sdk.spec import JobSpec


@pytest.fixture
def plan(tmp_path: Path) -> Any:
    """Plan a job of this engine with so many rows, the given options, and other parts of a description."""

    def make(rows: int = 40, *, parts: dict[str, Any] | None = None, **options: Any) -> Plan:
        train = peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(rows))
        whole: dict[str, Any] = {
            "provider": "onnx",
            "model": "builtin/tiny",
            "data": {"train": str(train)},
            "options": {"onnx": {"engine": "olive", **options}},
            **(parts or {}),
        }
        return OnnxProvider(home=tmp_path).plan(JobSpec.model_validate(whole))

    return make


def export(made: Plan) -> dict[str, Any]:
    found: Any = made.request["export"]
    return dict(found)


def passes(made: Plan) -> list[list[str]]:
    return [[one["type"] for one in candidate["passes"].values()] for candidate in export(made)["candidates"]]


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"passes": {"a": {"type": "LoRaa"}}}, r"passes\.a: Olive has no pass 'LoRaa'; did you mean 'LoRA'"),
        ({"passes": {"a": {"type": "ModelBuilder", "int4_blocksize": 32}}}, "did you mean 'int4_block_size'"),
        ({"pases": {}}, "has no 'pases'; did you mean 'passes'"),
        ({"passes": {"bilder": {"precision": "int4"}}}, "without a `type` it changes a pass that the job writes"),
        ({"passes": {"gptq": {"damp_percent": 0.1}}}, "this job has no such pass to change; it has builder"),
        ({"passes": {"a": {"type": "LoRA"}, "b": {"type": "DoRA"}}}, "a and b both train"),
        ({"input_model": {"type": "HfModel", "model_path": "other/model"}}, "model_path is 'other/model'"),
        ({"passes": {"a": [{"type": "LoRA"}, {"type": "DoRA"}]}}, "a list of passes"),
        (
            {"search_strategy": True, "passes": {"a": {"type": "Rtn"}, "b": {"type": "ModelBuilder"}}},
            "works with exactly one pass",
        ),
    ],
)
def test_a_run_configuration_that_olive_would_not_understand_is_refused(
    plan: Any, configuration: dict[str, Any], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        plan(olive=configuration)


def test_a_run_configuration_can_be_a_file(plan: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"passes": {"build": {"type": "modelbuilder", "precision": "int4"}}, "cache_dir": "x"}))
    made = plan(olive=str(file))
    assert passes(made) == [["ModelBuilder"]]
    assert export(made)["candidates"][0]["precision"] == "int4"
    assert any("cache_dir of Olive's configuration" in note for note in made.notes)


def test_a_pass_without_type_changes_the_one_that_the_job_writes(plan: Any) -> None:
    made = plan(precision="int4", fallback=False, olive={"passes": {"builder": {"int4_is_symmetric": True}}})
    builder = export(made)["candidates"][0]["passes"]["builder"]
    assert (builder["type"], builder["int4_is_symmetric"], builder["int4_block_size"]) == ("ModelBuilder", True, 128)


@pytest.mark.parametrize(
    ("adapter", "kind"), [("lora", "LoRA"), ("dora", "DoRA"), ("qlora", "QLoRA"), ({"kind": "lora", "r": 4}, "LoRA")]
)
def test_the_adapter_chooses_the_pass_that_trains(plan: Any, adapter: Any, kind: str) -> None:
    assert export(plan(parts={"adapter": adapter}))["olive"]["train"] == {"type": kind}


def test_a_configuration_may_choose_a_pass_that_no_adapter_names(plan: Any) -> None:
    made = plan(olive={"passes": {"mine": {"type": "LoKr", "r": 4, "train_data_config": "rows"}}})
    assert export(made)["olive"]["train"] == {"type": "LoKr", "r": 4}
    assert any("the rows are those of `data`" in note for note in made.notes)


def test_four_bit_training_on_a_cpu_is_refused(plan: Any) -> None:
    with pytest.raises(SpecError, match=r"needs a GPU; compute\.device is cpu"):
        plan(parts={"adapter": "qlora", "compute": {"device": "cpu"}})


@pytest.mark.parametrize("adapter", ["full", "ia3", {"kind": "lora", "rslora": True}])
def test_what_no_pass_trains_is_refused(plan: Any, adapter: Any) -> None:
    with pytest.raises(Unsupported, match="with `engine: olive`"):
        plan(parts={"adapter": adapter})


def test_an_int4_by_gptq_is_calibrated_before_it_is_built(plan: Any) -> None:
    made = plan(precision="int4", algorithm="gptq", fallback=False)
    assert passes(made) == [["Gptq", "ModelBuilder"]]
    assert not made.errors


def test_too_few_rows_to_calibrate_on_are_refused_with_the_number_needed(plan: Any) -> None:
    made = plan(12, precision="int4", algorithm="gptq", fallback=False)
    assert "12 training row(s)" in made.errors[0].message
    assert "needs 32 at least" in made.errors[0].message
    assert "Give 20 more" in made.errors[0].fix


@pytest.mark.parametrize("options", [{"olive": {"passes": {}}}, {"algorithm": "gptq"}])
def test_what_only_olive_does_names_the_engine(plan: Any, options: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="needs `engine: olive`"):
        plan(engine="genai-builder", **options)
