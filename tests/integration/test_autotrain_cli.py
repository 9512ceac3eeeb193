"""As a user does it: an AutoTrain configuration is imported and run from the command line; and what can go wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from managed_envs import managed_home

ROOT = Path(__file__).resolve().parent.parent.parent
FINETUNE = str(Path(sys.executable).with_name("finetune"))
TIMEOUT_S = 400


def command(*args: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(args, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=env)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the example, with its model and the imported spec."""
    folder = tmp_path_factory.mktemp("example") / "06_autotrain"
    shutil.copytree(ROOT / "examples" / "06_autotrain", folder, ignore=shutil.ignore_patterns("model", "job.yaml"))
    made = command(sys.executable, str(folder / "make_model.py"))
    assert made.returncode == 0, made.stderr
    done = command(FINETUNE, "import", str(folder / "autotrain.yml"), "-o", str(folder / "job.yaml"))
    assert done.returncode == 0, done.stderr
    return folder


def test_an_imported_configuration_trains(example: Path, tmp_path: Path) -> None:
    home = managed_home(tmp_path / "home")
    changes = (
        "--set",
        "compute.environment=managed",
        "--set",
        "compute.threads=1",
        "--set",
        "hyperparameters.log_steps=1",
    )
    done = command(FINETUNE, "run", str(example / "job.yaml"), "--home", str(home), "--format", "json", *changes)
    assert done.returncode == 0, done.stderr[-3000:]
    job = json.loads(done.stdout)["job"]
    assert (job["status"], job["provider"]) == ("succeeded", "autotrain")


def test_a_model_the_vendor_rejects_is_one_sentence(example: Path, tmp_path: Path) -> None:
    home = managed_home(tmp_path / "home")
    changes = ("--set", "compute.environment=managed", "--set", "model=nobody/there-is-no-such-model")
    done = command(FINETUNE, "run", str(example / "job.yaml"), "--home", str(home), *changes)
    assert done.returncode == 1
    assert "the model 'nobody/there-is-no-such-model' cannot be loaded" in done.stderr + done.stdout
