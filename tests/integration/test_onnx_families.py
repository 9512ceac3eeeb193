"""Families of models that transformers 5 describes otherwise than the model builder expects: built, and exact."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import onnx_jobs
import pytest
from finetune_providers.onnx.provider import OnnxProvider

from finetune_sdk.registry import load
from finetune_sdk.worker.envs import EnvStore

SCRIPT = Path(__file__).parent.parent / "onnx_families.py"


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the script found of each."""
    home = onnx_jobs.home(tmp_path_factory.mktemp("home"))
    needs = load("onnx", home=home).environment
    assert needs is not None
    python = EnvStore(home).python("onnx", needs.lock, wanted="managed", smoke=needs.smoke)
    command = [str(python), str(SCRIPT), str(OnnxProvider.worker), str(tmp_path_factory.mktemp("models"))]
    env = {"OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1", "CI": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "mistral", "phi4", "qwen3", "smollm3"])
def test_a_package_of_the_family_answers_as_pytorch_does(compared: dict[str, Any], family: str) -> None:
    assert compared[family]["difference"] < 5e-3
    assert compared[family]["tokens"] == compared[family]["expected"]
