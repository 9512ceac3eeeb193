"""Every method of the peft provider learns something that can be measured, and keeps the promises of SFT jobs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft_inside
import peft_jobs
import pytest
import toy_data
from finetune_providers.peft.provider import PeftProvider
from peft_inside import Context

from finetune_sdk.evaluate import evaluate_predictions

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

VOWELS = "def grade(sample, item):\n    text = sample['output_text']\n    return sum(c in 'aeiou' for c in text) / 8\n"


@dataclass(frozen=True)
class Case:
    """One method, its data, and the number that must reach a value on held-out rows."""

    rows: Callable[[int], Iterable[dict[str, Any]]]
    method: dict[str, Any]
    metric: str
    least: float
    steps: int = 16


CASES = {
    "dpo": Case(toy_data.pairs, {"kind": "dpo"}, "eval_reward_accuracy", 0.95),
    "dpo-ipo": Case(toy_data.pairs, {"kind": "dpo", "loss": "ipo"}, "eval_reward_accuracy", 0.95),
    "orpo": Case(toy_data.pairs, {"kind": "orpo"}, "eval_reward_accuracy", 0.95),
    "kto": Case(toy_data.judged, {"kind": "kto"}, "eval_reward_accuracy", 0.9),
    "reward": Case(toy_data.pairs, {"kind": "reward", "center_rewards": 0.01}, "eval_reward_accuracy", 0.95),
    "classification": Case(toy_data.labelled, {"kind": "classification"}, "eval_accuracy", 0.9, 24),
}


def _train(home: Path, case: Case, **parts: Any) -> tuple[Context, dict[str, Any]]:
    knobs = {"max_steps": case.steps, **parts.pop("hyperparameters", {})}
    usual = {"data": {"validation": 0.2}, "method": case.method, "hyperparameters": knobs}
    return peft_inside.train(home, case.rows(160), **{**usual, **parts})


@pytest.mark.parametrize("name", CASES)
def test_the_method_learns_what_the_rows_teach(name: str, tmp_path: Path) -> None:
    ctx, result = _train(tmp_path, CASES[name])

    assert result["metrics"][CASES[name].metric] >= CASES[name].least
    assert ctx.series("loss")[-1] < ctx.series("loss")[0]
    assert {item["kind"] for item in result["artifacts"]} == {"adapter", "merged", "tokenizer", "receipt"}


def test_dpo_pulls_the_answers_apart_and_keeps_to_its_reference_at_first(tmp_path: Path) -> None:
    ctx, result = _train(tmp_path, CASES["dpo"])

    assert ctx.series("reward_margin")[0] == pytest.approx(0.0, abs=1e-5)
    assert result["metrics"]["eval_reward_margin"] > 0.5


def test_dpo_trains_all_weights_without_a_second_model(tmp_path: Path) -> None:
    _, result = _train(tmp_path, CASES["dpo"], adapter="full")

    assert result["metrics"]["eval_reward_accuracy"] >= 0.95
    assert {item["kind"] for item in result["artifacts"]} == {"model", "tokenizer", "receipt"}


def test_classification_is_scored_like_any_other_answer(tmp_path: Path) -> None:
    ctx, _ = _train(tmp_path, CASES["classification"], evaluation={"metrics": ["accuracy", "macro_f1"]})
    scores = evaluate_predictions(ctx.dir / "artifacts" / "predictions.jsonl", metrics=("accuracy", "macro_f1"))

    lines = [json.loads(line) for line in (ctx.dir / "artifacts" / "predictions.jsonl").read_text().splitlines()]
    assert {line["tuned"] for line in lines} == {"anger", "fear", "joy"}
    assert scores is not None
    assert sum(line["tuned"] == line["expected"] for line in lines) / len(lines) >= 0.9
    assert sum(line["base"] == line["expected"] for line in lines) / len(lines) <= 0.6


def test_a_classifiers_merged_model_names_its_labels(tmp_path: Path) -> None:
    ctx, _ = _train(tmp_path, CASES["classification"], hyperparameters={"max_steps": 2})
    config = json.loads((ctx.dir / "artifacts" / "merged" / "config.json").read_text())

    assert config["id2label"] == {"0": "anger", "1": "fear", "2": "joy"}


@pytest.mark.parametrize("label", [["anger", "joy"], 0.5], ids=["several labels at once", "a measured number"])
def test_labels_that_cannot_be_learned_are_refused_before_training(label: Any, tmp_path: Path) -> None:
    rows = [*toy_data.labelled(6), {"text": "odd", "label": label}]
    spec = peft_jobs.spec(peft_jobs.write(tmp_path / "rows.jsonl", rows), method="classification")

    plan = PeftProvider(home=tmp_path / "home").plan(spec)

    assert [one.rule for one in plan.errors] == ["label-types"]


def test_a_label_outside_the_given_ones_is_refused_with_its_line(tmp_path: Path) -> None:
    method = {"kind": "classification", "labels": ["joy", "anger"]}

    with pytest.raises(peft_inside.Failed, match=r"rows\.jsonl:\d+: label 'fear' is not among joy, anger"):
        peft_inside.train(tmp_path, toy_data.labelled(12), method=method)


def test_kto_refuses_answers_that_are_all_good(tmp_path: Path) -> None:
    rows = [row for row in toy_data.judged(20) if row["label"]]

    with pytest.raises(peft_inside.Failed, match="needs both kinds"):
        peft_inside.train(tmp_path, rows, method="kto")


def test_a_pair_that_truncation_makes_equal_is_left_out_and_said(tmp_path: Path) -> None:
    rows = [*toy_data.pairs(8)]
    long = "on and on " * 40
    rows[2] |= {side: [{"role": "assistant", "content": long + side}] for side in ("chosen", "rejected")}
    ctx, _ = peft_inside.train(tmp_path, rows, method="dpo", hyperparameters={"max_steps": 1, "max_seq_length": 64})

    assert ctx.said("data: 7 pairs")
    assert ctx.said("rows.jsonl:3")


def test_grpo_raises_the_reward_of_a_python_grader(tmp_path: Path) -> None:
    grader = {"type": "python", "source": VOWELS}
    ctx, result = peft_inside.train(
        tmp_path,
        toy_data.asked(48),
        data={"validation": 0.25},
        method={"kind": "rft", "grader": grader, "max_completion_tokens": 8, "samples_per_prompt": 8},
        hyperparameters={"max_steps": 12, "batch_size": 4, "learning_rate": 4e-3, "log_steps": 1, "eval_steps": 12},
    )
    rewards = ctx.series("reward")

    assert sum(rewards[-3:]) > 2 * sum(rewards[:3])
    assert result["metrics"]["eval_reward"] > 2 * ctx.series("eval_reward")[0]


def test_grpo_with_a_kl_term_reports_how_far_it_went(tmp_path: Path) -> None:
    grader = {"type": "python", "source": VOWELS}
    ctx, _ = peft_inside.train(
        tmp_path,
        toy_data.asked(8),
        method={"kind": "rft", "grader": grader, "max_completion_tokens": 4, "samples_per_prompt": 4, "beta": 0.1},
        hyperparameters={"max_steps": 3, "batch_size": 4, "log_steps": 1, "warmup_ratio": 0.0},
    )

    assert ctx.series("kl")[0] == pytest.approx(0.0, abs=1e-6)
    assert ctx.series("kl")[-1] > 0


def test_a_grader_that_fails_ends_the_job_with_file_line_and_row(tmp_path: Path) -> None:
    (tmp_path / "grade.py").write_text("def grade(sample, item):\n    return 1 / item['missing']\n")
    grader = {"type": "python", "file": str(tmp_path / "grade.py")}
    method = {"kind": "rft", "grader": grader, "max_completion_tokens": 4, "samples_per_prompt": 2}

    with pytest.raises(peft_inside.Failed, match=r"rows\.jsonl:\d+: .*grade\.py:2: grade\(\) raised KeyError"):
        peft_inside.train(tmp_path / "home", toy_data.asked(8), method=method)


@pytest.mark.parametrize("name", ["dpo", "kto", "classification", "rft"])
def test_a_paused_job_ends_at_the_weights_of_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    rft = {"kind": "rft", "grader": {"type": "python", "source": VOWELS}, "max_completion_tokens": 4}
    case = CASES.get(name) or Case(toy_data.asked, {**rft, "samples_per_prompt": 2}, "", 0.0)
    parts: dict[str, Any] = {
        "method": case.method,
        "hyperparameters": {"max_steps": 6, "batch_size": 4, "log_steps": 1, "learning_rate": 1e-3},
    }
    whole, _ = peft_inside.train(tmp_path / "whole", case.rows(12), **parts)
    paused = peft_inside.context(tmp_path / "paused", peft_inside.spec(tmp_path / "paused", case.rows(12), **parts))
    paused.pause_at = 3
    assert peft_inside.run(paused)["status"] == "paused"
    peft_inside.run(paused.again())

    weights = [ctx.dir / "artifacts" / "adapter" / "adapter_model.safetensors" for ctx in (whole, paused)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_loss_that_is_no_number_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(peft_inside.Failed, match="learning_rate"):
        peft_inside.train(
            tmp_path, toy_data.pairs(32), method="orpo", hyperparameters={"learning_rate": 1e30, "max_steps": 8}
        )
