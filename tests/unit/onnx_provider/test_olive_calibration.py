# pyright: basic
"""Rows that a quantiser looks at: enough of them, or a sentence that says how many."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft_jobs
import pytest
from finetune_providers.peft.provider import WORKER
from later import Later

builtin = Later("finetune_providers.peft.worker.builtin")
olive_build = Later("finetune_providers.onnx.worker.tasks.olive_build")


class Child:
    """As much of a child process as the task uses."""

    class Failed(Exception):
        """A failure with a reason."""

    def event(self, message: str, **metrics: float) -> None:
        """Nobody listens."""


@pytest.fixture
def orders(tmp_path: Path) -> dict[str, Any]:
    """Thirty-two rows of a few tokens each; the widest layer of the model has 256 inputs."""
    rows = peft_jobs.write(tmp_path / "train.jsonl", [{"kind": "text", "text": "a b"}] * 32)
    return {
        "name": "int4",
        "kind": "causal",
        "model": str(builtin.make(tmp_path / "model", data=rows, seed=0)),
        "train_rows": str(rows),
        "calibration_rows": 128,
        "calibrated": ("Gptq",),
        "max_length": 64,
        "peft_worker": str(WORKER),
        **dict.fromkeys(("trust_remote_code", "local_files_only"), False),
        **dict.fromkeys(("revision", "chat_template")),
    }


def test_fewer_tokens_than_the_widest_layer_has_inputs_are_refused_with_the_number(orders: dict[str, Any]) -> None:
    with pytest.raises(Child.Failed, match=r"calibration set is too small: \d+ tokens in 32 rows, but a layer has 256"):
        olive_build.calibrate(Child(), orders, {"gptq": {"type": "Gptq"}})
