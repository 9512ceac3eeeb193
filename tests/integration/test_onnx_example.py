"""The example of the onnx provider does what it says: its job succeeds, and its package chats with genai alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx_jobs
import pytest

from finetune_sdk import config
from finetune_sdk.registry import load
from finetune_sdk.worker.envs import EnvStore

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "08_onnx"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return onnx_jobs.home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def package(home: Path) -> Path:
    """What `finetune run` of the example's job made."""
    finetune = Path(sys.executable).with_name("finetune")
    command = [str(finetune), "run", str(EXAMPLE / "onnx.yaml"), "--home", str(home), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    job = json.loads(done.stdout)["job"]["id"]
    return home / "jobs" / job / "artifacts" / "onnx"


def test_the_smallest_of_its_packages_is_recommended(package: Path) -> None:
    assert json.loads((package / "manifest.json").read_text())["precision"] == "int4"


def test_its_script_chats_with_the_package_and_no_torch(home: Path, package: Path) -> None:
    """With no torch to import: a module of that name that cannot be loaded stands in front."""
    needs = load("onnx", home=home).environment
    assert needs is not None
    python = EnvStore(home).python("onnx", needs.lock, wanted="managed", smoke=needs.smoke)
    hidden = package.parent / "hidden"
    hidden.mkdir()
    (hidden / "torch.py").write_text("raise ImportError('torch is not needed')\n")
    command = [str(python), str(EXAMPLE / "chat.py"), str(package), "I am shaking, somebody is at the door"]
    env = {**os.environ, "PYTHONPATH": str(hidden), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip()


def test_the_example_for_olive_is_one_that_can_be_planned(home: Path) -> None:
    plan = load("onnx", home=home).plan(config.load(EXAMPLE / "olive.yaml"))
    assert not plan.errors
