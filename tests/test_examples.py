"""Every example runs from a fresh checkout, as its README says; the comparisons do in `test_compare_runs`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from managed_envs import managed_home

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SPECS = sorted(EXAMPLES.glob("*/finetune.yaml"))
THREE = EXAMPLES / "12_three_providers"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*/main.py") if path.parent != THREE)


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


@pytest.mark.parametrize("script", SCRIPTS, ids=_id)
def test_the_example_script_runs(script: Path, tmp_path: Path) -> None:
    done = _run(script, tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]


def test_one_word_takes_a_job_to_another_backend_and_one_table_compares_them(tmp_path: Path) -> None:
    done = _run(THREE / "main.py", tmp_path)

    assert done.returncode == 0, done.stderr[-3000:]
    rows = [line.replace("->", "").split() for line in done.stdout.splitlines() if " -> " in line]
    assert [name for name, *_ in rows] == ["peft", "autotrain", "unsloth"]
    numbers = [[float(word) for word in words[:-1]] for _, *words in rows]
    assert len({before for _, _, before, *_ in numbers}) == 1, "all start from the same base model, on the same rows"
    assert all(last < first and after < before / 10 for first, last, before, after, *_ in numbers)


def _run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """In a copy of the examples, with a home of its own and the suite's environments."""
    copy = shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("model", "__pycache__"))
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "FINETUNE_HOME": str(managed_home(folder / "home"))}
    command = [sys.executable, str(copy / script.relative_to(EXAMPLES))]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=1500, check=False)
