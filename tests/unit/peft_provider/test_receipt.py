"""What receipt and model card say of a run: nothing is left "auto", and the evaluation is summed up."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import peft_inside
import peft_jobs
import pytest

import finetune_sdk

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

SETTLED = ("precision", "threads", "device", "gradient_checkpointing", "learning_rate", "eval_steps", "save_steps")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a job of two steps with an evaluation."""
    home = tmp_path_factory.mktemp("receipt")
    parts: dict[str, Any] = {
        "data": {"validation": 0.2},
        "hyperparameters": {"max_steps": 2, "batch_size": 4},
        "evaluation": {"prompts": ["hello?"], "max_new_tokens": 2},
    }
    ctx, _ = peft_inside.train(home, peft_jobs.rows(20), **parts)
    return ctx.dir / "artifacts"


@pytest.fixture(scope="module")
def receipt(artifacts: Path) -> dict[str, Any]:
    return json.loads((artifacts / "receipt.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SETTLED)
def test_no_setting_stays_open(receipt: dict[str, Any], name: str) -> None:
    assert receipt["settings"][name] not in ("auto", None)


def test_the_receipt_names_who_made_it_and_where(receipt: dict[str, Any]) -> None:
    assert receipt["sdk_version"] == finetune_sdk.__version__
    assert receipt["machine"]["python"] == platform.python_version()
    assert receipt["machine"]["platform"] == platform.platform()


def test_the_evaluation_is_summed_up(receipt: dict[str, Any], artifacts: Path) -> None:
    lines = [json.loads(line) for line in (artifacts / "predictions.jsonl").read_text().splitlines()]
    rows = [line for line in lines if line["expected"] is not None]

    assert receipt["evaluation"]["rows"] == len(rows) == 4
    assert receipt["evaluation"]["prompts"] == 1
    for name in ("base", "tuned"):
        right = sum(line[name].strip() == line["expected"].strip() for line in rows)
        assert receipt["evaluation"]["exact_match"][name] == right


def test_the_model_card_s_settings_are_those_that_were_used(artifacts: Path, receipt: dict[str, Any]) -> None:
    card = (artifacts / "merged" / "README.md").read_text(encoding="utf-8")

    assert "| auto |" not in card
    assert f"| precision | {receipt['settings']['precision']} |" in card
