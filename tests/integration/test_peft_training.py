"""The peft provider trains: what a finished SFT job leaves behind, and how jobs end that cannot be finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from peft_jobs import Ran

from finetune_sdk.config import load
from finetune_sdk.types import JobStatus

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "01_quickstart"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return peft_jobs.run(tmp_path_factory.mktemp("home"), load(EXAMPLE / "finetune.yaml"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return peft_jobs.write(tmp_path_factory.mktemp("data") / "train.jsonl", peft_jobs.rows(40))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Ran:
    """Full training with validation, perplexity and weights; short."""
    wanted = peft_jobs.spec(
        data,
        data={"validation": 0.2},
        adapter="full",
        evaluation={"metrics": ["perplexity"], "max_new_tokens": 4},
        hyperparameters={"eval_steps": 3, "log_steps": 1},
        suffix="first",
    )
    return peft_jobs.run(tmp_path_factory.mktemp("home"), wanted)


def test_the_quickstart_lifts_exact_match_from_chance_to_nine_tenths(quickstart: Ran) -> None:
    assert quickstart.state.status is JobStatus.SUCCEEDED, quickstart.state.error
    assert quickstart.exact("base") <= 0.25
    assert quickstart.exact("tuned") >= 0.9


def test_the_quickstarts_data_are_what_its_script_writes(tmp_path: Path) -> None:
    scope: dict[str, Any] = {"__name__": "make_data", "__file__": str(EXAMPLE / "make_data.py")}
    exec((EXAMPLE / "make_data.py").read_text(), scope)
    written = [json.loads(line) for line in (EXAMPLE / "tone.jsonl").read_text().splitlines()]

    assert written == scope["rows"](1400, 20261120)


def test_a_free_prompt_is_answered_by_both_models(quickstart: Ran) -> None:
    [asked] = [line for line in quickstart.predictions if line["expected"] is None]

    assert asked["tuned"] == "joy"
    assert isinstance(asked["base"], str)


def test_a_lora_job_leaves_adapter_merged_model_tokenizer_predictions_and_receipt(quickstart: Ran) -> None:
    artifacts = {artifact.kind: artifact for artifact in quickstart.provider.artifacts(quickstart.ref)}

    assert set(artifacts) == {"adapter", "merged", "tokenizer", "predictions", "receipt"}
    assert all(artifact.sha256 and Path(artifact.uri).exists() for artifact in artifacts.values())


def test_weights_are_safetensors_only(quickstart: Ran) -> None:
    names = {path.suffix for path in (quickstart.folder / "artifacts").rglob("*") if path.is_file()}

    assert ".safetensors" in names
    assert not names & {".bin", ".pt", ".pth", ".pkl"}


def test_the_model_card_stands_beside_the_weights(quickstart: Ran) -> None:
    card = (quickstart.folder / "artifacts" / "adapter" / "README.md").read_text()

    assert "base_model: builtin/tiny" in card
    assert "1190 rows" in card


def test_the_receipt_names_spec_data_seed_versions_and_metrics(quickstart: Ran) -> None:
    receipt = json.loads((quickstart.folder / "artifacts" / "receipt.json").read_text())

    assert receipt["spec_sha256"] == load(EXAMPLE / "finetune.yaml").sha256
    assert receipt["seed"] == 0
    assert set(receipt["data"]) == {"train.jsonl", "test.jsonl"}
    assert {"torch", "transformers", "peft"} <= set(receipt["packages"])
    assert receipt["metrics"]["train_loss"] > 0


def test_progress_events_carry_loss_speed_and_time_left(quickstart: Ran) -> None:
    steps = [event for event in quickstart.provider.events(quickstart.ref) if "loss" in event.metrics]

    assert {"loss", "learning_rate", "grad_norm", "tokens_per_s", "eta_s", "total_steps"} <= set(steps[-1].metrics)


@pytest.mark.parametrize(
    "choice", ["device: cpu", "threads: 1 per process", "precision: fp32", "gradient checkpointing: off"]
)
def test_a_choice_for_the_machine_is_told(quickstart: Ran, choice: str) -> None:
    assert [message for message in quickstart.messages if message.startswith(choice)]


def test_tensorboard_logs_lie_in_the_jobs_folder(quickstart: Ran) -> None:
    assert list((quickstart.folder / "tensorboard").glob("events.out.tfevents.*"))


def test_full_training_leaves_a_model_and_validates(full: Ran) -> None:
    assert full.state.status is JobStatus.SUCCEEDED, full.state.error
    assert next(iter(full.provider.artifacts(full.ref))).kind == "model"
    assert [message for message in full.messages if message.startswith("validation loss")]
    assert full.state.metrics["eval_loss"] > 0


def test_perplexity_comes_with_losses_of_both_models(full: Ran) -> None:
    line = full.predictions[0]

    assert line["tokens"] > 0
    assert line["base_nll"] > 0
    assert line["tuned_nll"] > 0


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, data: Path) -> None:
    wanted = peft_jobs.spec(data, hyperparameters={"max_steps": 3})
    first, second = (peft_jobs.run(tmp_path, wanted, key) for key in ("one", "two"))

    assert _weights(first) == _weights(second)


def _weights(job: Ran) -> str | None:
    path = job.folder / "artifacts" / "merged" / "model.safetensors"
    return path.read_bytes().hex()[-64:] if path.exists() else job.state.error


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"learning_rate": 1e30, "max_grad_norm": 1e30}, "lower hyperparameters.learning_rate"),
        ({"optimizer": "adamx"}, "'adamx' is not known"),
    ],
    ids=["loss is no number", "unknown optimizer"],
)
def test_a_job_that_cannot_learn_fails_with_the_reason(
    tmp_path: Path, data: Path, knobs: dict[str, Any], reason: str
) -> None:
    ended = peft_jobs.run(tmp_path, peft_jobs.spec(data, hyperparameters=knobs)).state

    assert ended.status is JobStatus.FAILED
    assert reason in str(ended.error)


def test_rows_cut_to_nothing_fail_before_the_first_step(tmp_path: Path, data: Path) -> None:
    job = peft_jobs.run(tmp_path, peft_jobs.spec(data, hyperparameters={"max_seq_length": 4}))

    assert "no training row carries loss" in str(job.state.error)
    assert [message for message in job.messages if message.startswith("row-truncated: ")]
    assert job.losses == {}


def test_early_stopping_ends_the_job_and_says_so(tmp_path: Path, data: Path) -> None:
    wanted = peft_jobs.spec(
        data,
        data={"validation": 0.2},
        hyperparameters={
            "max_steps": 400,
            "eval_steps": 2,
            "learning_rate": 1e-9,
            "early_stopping": {"patience": 1, "min_delta": 0.5},
        },
    )
    job = peft_jobs.run(tmp_path, wanted)

    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    assert [message for message in job.messages if message.startswith("early stop")]
    assert max(job.losses) < 20


def test_pretraining_learns_every_token_of_plain_texts_in_packed_sequences(tmp_path: Path) -> None:
    data = peft_jobs.write(tmp_path / "texts.jsonl", [{"text": f"The {i}th day was long and grey."} for i in range(60)])
    wanted = peft_jobs.spec(data, method="pretraining", hyperparameters={"max_seq_length": 64})

    job = peft_jobs.run(tmp_path / "home", wanted)

    assert job.state.status is JobStatus.SUCCEEDED, job.state.error
    told = next(event for event in job.provider.events(job.ref) if event.message.startswith("data: "))
    assert told.metrics["samples"] < 30
