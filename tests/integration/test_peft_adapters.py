"""Every adapter: it trains, and what it leaves behind answers like the model that was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import peft_inside
import peft_models
import pytest
import toy_data
from finetune_providers.peft.provider import PeftProvider

from finetune_sdk.errors import SpecError

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

EXACT: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora"},
    "dora": {"kind": "dora"},
    "rslora": {"kind": "lora", "rslora": True},
    "gaussian": {"kind": "lora", "init": "gaussian"},
    "pissa": {"kind": "lora", "init": "pissa"},
    "olora": {"kind": "lora", "init": "olora"},
    "ia3": {"kind": "ia3"},
}
"""Adapters whose merged model is the trained one, up to rounding."""
EVALUATION = {"metrics": ["exact_match"], "max_new_tokens": 4, "max_rows": 12}


def _train(home: Path, adapter: dict[str, Any], **parts: Any) -> tuple[peft_inside.Context, dict[str, Any]]:
    usual = {
        "data": {"test": 0.2},
        "evaluation": EVALUATION,
        "hyperparameters": {"max_steps": 10, "learning_rate": 3e-3},
    }
    return peft_inside.train(home, toy_data.chats(80), adapter=adapter, **{**usual, **parts})


def _lines(ctx: peft_inside.Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ctx.dir / "artifacts" / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", EXACT)
def test_adapter_and_merged_model_answer_like_the_trained_one(name: str, tmp_path: Path) -> None:
    ctx, result = _train(tmp_path, EXACT[name])
    lines, folder = _lines(ctx), ctx.dir / "artifacts" / "tokenizer"
    tuned = [line["tuned"] for line in lines]

    assert ctx.series("loss")[-1] < ctx.series("loss")[0]
    assert {item["kind"] for item in result["artifacts"]} >= {"adapter", "merged"}
    assert peft_models.answers(peft_models.adapter(ctx.dir / "artifacts" / "adapter"), folder, lines) == tuned
    assert peft_models.answers(peft_models.merged(ctx.dir / "artifacts" / "merged"), folder, lines) == tuned


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_adapter_that_rewrote_the_base_is_saved_as_one_that_fits_it(init: str, tmp_path: Path) -> None:
    ctx, _ = _train(tmp_path, {"kind": "lora", "init": init, "r": 4}, hyperparameters={"max_steps": 2})
    config = json.loads((ctx.dir / "artifacts" / "adapter" / "adapter_config.json").read_text())

    assert config["init_lora_weights"] is True
    assert config["r"] == 8


def test_a_tuned_prompt_is_saved_as_it_is_and_never_merged(tmp_path: Path) -> None:
    adapter = {"kind": "prompt_tuning", "virtual_tokens": 4, "init_text": "name the tone"}
    ctx, result = _train(tmp_path, adapter, hyperparameters={"max_steps": 10, "learning_rate": 0.1})
    lines = _lines(ctx)

    assert ctx.series("loss")[-1] < ctx.series("loss")[0]
    assert "merged" not in {item["kind"] for item in result["artifacts"]}
    assert ctx.said("no merged model")
    assert peft_models.answers(
        peft_models.adapter(ctx.dir / "artifacts" / "adapter"), ctx.dir / "artifacts" / "tokenizer", lines
    ) == [line["tuned"] for line in lines]


def test_a_prompt_can_be_tuned_by_rewards(tmp_path: Path) -> None:
    grader = {"type": "string_check", "operation": "ilike", "reference": "{{item.wanted}}"}
    ctx, _ = peft_inside.train(
        tmp_path,
        toy_data.asked(12),
        method={"kind": "rft", "grader": grader, "max_completion_tokens": 4, "samples_per_prompt": 4, "beta": 0.1},
        adapter={"kind": "prompt_tuning", "virtual_tokens": 4},
        hyperparameters={"max_steps": 3, "batch_size": 4, "learning_rate": 0.1, "warmup_ratio": 0.0, "log_steps": 1},
    )

    assert ctx.series("kl")[-1] > 0


@pytest.mark.parametrize("method", ["dpo", "kto", "orpo"])
def test_a_prompt_can_be_tuned_by_preferences(method: str, tmp_path: Path) -> None:
    rows = toy_data.judged(64) if method == "kto" else toy_data.pairs(64)
    ctx, _ = peft_inside.train(
        tmp_path,
        rows,
        method=method,
        adapter={"kind": "prompt_tuning", "virtual_tokens": 4},
        hyperparameters={"max_steps": 8, "learning_rate": 0.1},
    )

    assert ctx.series("loss")[-1] < ctx.series("loss")[0]


@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_a_quantised_base_is_trained_and_merged_in_full_precision(bits: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes has no wheel for this machine")
    ctx, result = _train(tmp_path, {"kind": "lora", "quantize": bits})
    merged = json.loads((ctx.dir / "artifacts" / "merged" / "config.json").read_text())

    assert ctx.series("loss")[-1] < 0.8 * ctx.series("loss")[0]
    assert {item["kind"] for item in result["artifacts"]} >= {"adapter", "merged"}
    assert "quantization_config" not in merged
    lines = _lines(ctx)
    same = zip(
        peft_models.answers(
            peft_models.merged(ctx.dir / "artifacts" / "merged"), ctx.dir / "artifacts" / "tokenizer", lines
        ),
        lines,
        strict=True,
    )
    assert sum(answer == line["tuned"] for answer, line in same) >= 0.75 * len(lines)


@pytest.mark.parametrize("method", ["reward", "classification"])
def test_a_scored_model_is_quantised_but_for_its_head(method: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="bitsandbytes has no wheel for this machine")
    rows = toy_data.pairs(64) if method == "reward" else toy_data.labelled(64)
    ctx, result = peft_inside.train(
        tmp_path, rows, method=method, adapter={"kind": "qlora"}, hyperparameters={"max_steps": 12}
    )

    assert ctx.series("loss")[-1] < ctx.series("loss")[0]
    assert {item["kind"] for item in result["artifacts"]} >= {"adapter", "merged"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pissa on a quantised base": ({"adapter": {"kind": "qlora", "init": "pissa"}}, "quantize"),
    "a tuned prompt for a score": ({"adapter": "prompt_tuning", "method": "reward"}, "prompt_tuning"),
    "a tuned prompt with packing": ({"adapter": "prompt_tuning", "hyperparameters": {"packing": True}}, "packing"),
    "packed pairs": ({"method": "dpo", "hyperparameters": {"packing": True}}, "packing"),
    "kto one by one": ({"method": "kto", "hyperparameters": {"batch_size": 1}}, "batch"),
    "smoothing without meaning": ({"method": {"kind": "dpo", "loss": "hinge", "label_smoothing": 0.1}}, "smoothing"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_together_is_refused_at_plan(name: str, tmp_path: Path) -> None:
    parts, words = REFUSED[name]
    rows = {"kto": toy_data.judged, "dpo": toy_data.pairs, "reward": toy_data.pairs}
    method = parts.get("method", "sft")
    kind = method if isinstance(method, str) else method["kind"]
    wanted = peft_inside.spec(tmp_path, rows.get(kind, toy_data.chats)(16), **parts)

    with pytest.raises(SpecError, match=words):
        PeftProvider(home=tmp_path).plan(wanted)


def test_target_modules_that_match_nothing_end_the_job_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(peft_inside.Failed, match=r"adapter does not fit the model .*nowhere"):
        peft_inside.train(tmp_path, toy_data.chats(8), adapter={"kind": "lora", "target_modules": ["nowhere"]})
