"""`engine: olive` for real: trained by Olive's LoRA, calibrated, quantised by its GPTQ, killed on the way, finished."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_jobs
import peft_jobs
import pytest
import toy_data
import yaml
from onnx_jobs import Ran

from finetune_sdk.types import JobStatus

_LOSS = """\
from torch.nn import functional

def loss(logits, labels):
    return 10 * functional.cross_entropy(logits, labels, reduction="none")
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_jobs.home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(60))


@pytest.fixture(scope="module")
def tuned(home: Path, train: Path) -> Ran:
    """A whole job whose worker was killed while a pass of Olive's built the package, and which then went on."""
    loose = {"tolerance": {"max_perplexity_increase": None, "max_metric_drop": None}}
    tenfold = train.with_name("mine.py")
    tenfold.write_text(_LOSS)
    options = {"engine": "olive", "precision": "int4", "algorithm": "gptq", "fallback": False, **loose}
    options["custom"] = str(tenfold)
    data = {"train": str(train), "validation": 0.2}
    knobs = {"max_steps": 6, "batch_size": 8}
    job = onnx_jobs.submit(home, onnx_jobs.spec(train, options, data=data, hyperparameters=knobs, seed=0), "olive")
    job.until_said("Olive: pass gptq")
    job.kill()
    assert job.end().status is JobStatus.FAILED
    job.provider.resume(job.ref)
    assert job.end().status is JobStatus.SUCCEEDED, (job.state.error, job.messages[-3:])
    return job


def test_olive_trains_and_quantises_and_the_package_generates(tuned: Ran) -> None:
    figures = tuned.candidates["int4"]
    assert figures["finite"]
    assert figures["tokens_per_s_1"] > 0
    assert [one["pass"] for one in figures["olive"]["runs"]] == ["gptq", "modelbuilder"]


def test_every_row_is_learned_from_and_only_its_answer(tuned: Ran) -> None:
    told = next(message for message in tuned.messages if message.startswith("data: "))
    assert told.startswith("data: 48 samples")
    assert tuned.said("step 6 of 6")


def test_olive_trains_with_the_users_own_loss(tuned: Ran) -> None:
    """The user's is ten times the usual one, which validation still is."""
    assert tuned.losses[1] > 5 * tuned.state.metrics["eval_loss"]


def test_a_killed_job_goes_on_without_training_again(tuned: Ran) -> None:
    assert tuned.said("fine-tuning: done before")
    assert sum("Olive: pass train finished" in message for message in tuned.messages) == 1


def test_the_receipt_names_the_engine_and_its_library(tuned: Ran) -> None:
    assert tuned.manifest["engine"] == "olive"
    receipt = json.loads((tuned.folder / "artifacts" / "receipt.json").read_text())
    assert receipt["packages"]["olive-ai"] == "0.13.0"
    assert receipt["onnx"]["chosen"] == "int4"


def test_nothing_of_olives_own_records_is_in_the_package(tuned: Ran) -> None:
    names = {path.name for path in tuned.package.iterdir()}
    assert {"model.onnx", "genai_config.json", "tokenizer.json", "manifest.json"} <= names
    assert not {"footprint.json", "run_history.txt", "model_config.json"} & names
    assert not list(tuned.folder.rglob(".olive-cache"))


def test_olives_own_search_over_one_pass_builds_what_its_evaluator_likes_best(
    home: Path, train: Path, tuned: Ran
) -> None:
    """Larger blocks have fewer scales: of two block sizes the evaluator of sizes takes the larger. Given as a file."""
    sizes = {"olive_parameter_type": "SearchParameter", "type": "Categorical", "support": [16, 128]}
    settled = {"int4_algo_config": "rtn", "int4_is_symmetric": True}
    measured = {"name": "bytes", "priority": 1, "higher_is_better": False}
    configuration = {
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "evaluators": {"small": {"metrics": [{"name": "size", "type": "size_on_disk", "sub_types": [measured]}]}},
        "evaluator": "small",
        "passes": {"build": {"type": "ModelBuilder", "precision": "int4", "int4_block_size": sizes, **settled}},
    }
    file = train.with_name("olive.yaml")
    file.write_text(yaml.safe_dump(configuration))
    options = {"engine": "olive", "source": str(tuned.folder / "artifacts" / "adapter"), "olive": str(file)}
    loose = {"tolerance": {"max_perplexity_increase": None, "max_metric_drop": None}}
    job = onnx_jobs.run(home, onnx_jobs.spec(train, {**options, **loose}, model=str(tuned.folder / "base")), "search")
    assert job.state.status is JobStatus.SUCCEEDED, (job.state.error, job.messages[-3:])
    told = job.candidates["olive"]["olive"]
    assert len(told["runs"]) == 2
    found = [one["metrics"]["value"]["size-bytes"]["value"] for one in told["runs"]]
    assert told["metrics"]["size-bytes"]["value"] == min(found) < max(found)


def test_an_encoder_classifier_is_exported_fused_and_quantised_by_olives_passes(home: Path, tmp_path: Path) -> None:
    rows = peft_jobs.write(tmp_path / "rows.jsonl", list(toy_data.labelled(40)))
    model = onnx_jobs.encoder(tmp_path / "bert", ["anger", "fear", "joy"])
    loose = {"tolerance": {"max_metric_drop": None}}  # it guesses: a class may change
    options = {"engine": "olive", "source": model, "precision": "int8", "fallback": False, **loose}
    job = onnx_jobs.run(home, onnx_jobs.spec(rows, options, model=model, method="classification"), "encoder")
    assert job.state.status is JobStatus.SUCCEEDED, (job.state.error, job.messages[-3:])
    passes = [one["pass"] for one in job.candidates["int8"]["olive"]["runs"]]
    assert passes == ["onnxconversion", "orttransformersoptimization", "onnxdynamicquantization"]
    assert job.candidates["int8"]["finite"]


def test_what_olives_own_classes_refuse_fails_before_anything_is_done(home: Path, train: Path) -> None:
    options = {"engine": "olive", "olive": {"passes": {"train": {"type": "LoRA", "r": "many"}}}}
    job = onnx_jobs.run(home, onnx_jobs.spec(train, options), "refused")
    assert job.state.status is JobStatus.FAILED
    assert not job.said("fine-tuning")
