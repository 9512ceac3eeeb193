"""Every example runs from a fresh checkout, as its README says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from managed_envs import managed_home

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SPECS = sorted(EXAMPLES.glob("*/finetune.yaml"))
BENCHES = sorted(EXAMPLES.glob("*/bench.yaml"))
SCRIPTS = sorted(EXAMPLES.glob("*/main.py"))


def _id(path: Path) -> str:
    return path.parent.name


@pytest.mark.parametrize("spec", SPECS, ids=_id)
def test_the_example_job_succeeds(spec: Path, tmp_path: Path) -> None:
    finetune = Path(sys.executable).with_name("finetune")
    home = managed_home(tmp_path / "home")  # environments are built once for the whole suite
    command = [str(finetune), "run", str(spec), "--home", str(home), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["job"]["status"] == "succeeded"


@pytest.mark.parametrize("bench", BENCHES, ids=_id)
def test_the_example_comparison_finds_that_tuning_is_worth_it(bench: Path, tmp_path: Path) -> None:
    finetune = Path(sys.executable).with_name("finetune")
    command = [str(finetune), "compare", str(bench), "--home", str(tmp_path), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout)["results"]
    assert [one["stage"] for one in results["candidates"]] == ["done"] * 4
    assert any(text.startswith("Tuning is worth it here: ") for text in results["findings"])


@pytest.mark.parametrize("script", SCRIPTS, ids=_id)
def test_the_example_script_runs(script: Path, tmp_path: Path) -> None:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "FINETUNE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
