"""The losses of the peft provider's trainer are TRL's: the compact head changes the cost, not the result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import peft_jobs
import pytest
from peft_worker import module

SCRIPT = Path(__file__).with_name("peft_parity.py")
TOLERANCE = 1e-4
"""Relative. fp32 sums in another order differ by about 1e-7 a step; Adam turns that into up to 1e-5 in eight steps."""


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    folder = tmp_path_factory.mktemp("parity")
    rows = [{"kind": "chat", **row} for row in peft_jobs.rows(70)]
    rows[5]["messages"] = rows[5]["messages"] * 3  # several turns, several spans
    data = peft_jobs.write(folder / "rows.jsonl", rows)
    model = module("builtin").make(folder / "model", data=data, seed=0)
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1]), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(model), str(data)], capture_output=True, text=True, env=env, check=False
    )
    told = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert told, done.stderr[-3000:]
    return dict(json.loads(told[0].removeprefix("RESULT ")))


def test_every_steps_loss_equals_trls(losses: dict[str, list[float]]) -> None:
    assert losses["ours"] == pytest.approx(losses["trl"], rel=TOLERANCE)


def test_the_losses_compared_are_those_of_a_training(losses: dict[str, list[float]]) -> None:
    assert len(losses["trl"]) == 8
    assert losses["trl"][-1] < losses["trl"][0]
