"""What people install: two top-level packages, everything that belongs to them, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = (ROOT / "finetune_sdk", ROOT / "providers" / "finetune_providers")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel in dist/ if it is newer than every source, else one built now."""
    built = sorted((ROOT / "dist").glob("finetune_sdk-*.whl"), key=lambda path: path.stat().st_mtime)
    if built and built[-1].stat().st_mtime > _newest_source():
        return zipfile.ZipFile(built[-1])
    pytest.importorskip("hatchling", reason="the wheel is built with it, offline; `make wheel` needs nothing")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def _newest_source() -> float:
    files = [ROOT / "pyproject.toml", *(file for package in PACKAGES for file in package.rglob("*") if file.is_file())]
    return max(file.stat().st_mtime for file in files if "__pycache__" not in file.parts)


def names(wheel: zipfile.ZipFile) -> set[str]:
    return set(wheel.namelist())


def test_the_wheel_has_two_top_level_names(wheel: zipfile.ZipFile) -> None:
    top = {name.split("/")[0] for name in wheel.namelist()}

    assert {name for name in top if not name.endswith(".dist-info")} == {"finetune_sdk", "finetune_providers"}


@pytest.mark.parametrize(
    "name",
    [
        "finetune_sdk/py.typed",
        "finetune_providers/py.typed",
        "finetune_providers/peft/worker.in",
        "finetune_providers/peft/worker.lock",
        "finetune_sdk/testing/conformance.py",
        "finetune_sdk/worker/runner.py",
    ],
)
def test_the_wheel_contains(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in names(wheel)


def test_the_wheel_contains_every_source(wheel: zipfile.ZipFile) -> None:
    sources = {str(file.relative_to(package.parent)) for package in PACKAGES for file in package.rglob("*.py")}

    assert sources - names(wheel) == set()


def test_the_wheel_contains_no_litter(wheel: zipfile.ZipFile) -> None:
    assert sorted(name for name in names(wheel) if "__pycache__" in name or name.endswith((".pyc", ".part"))) == []


def test_the_licence_is_inside(wheel: zipfile.ZipFile) -> None:
    assert [name for name in names(wheel) if name.endswith("licenses/LICENSE")]


def test_the_entry_points_are_the_command_and_the_providers(wheel: zipfile.ZipFile) -> None:
    [file] = [name for name in names(wheel) if name.endswith("entry_points.txt")]
    text = wheel.read(file).decode()

    assert "finetune = finetune_sdk.cli:main" in text
    assert "peft = finetune_providers.peft.provider:PeftProvider" in text


def test_the_core_depends_on_nothing_heavy(wheel: zipfile.ZipFile) -> None:
    [file] = [name for name in names(wheel) if name.endswith("METADATA")]
    required = Parser().parsestr(wheel.read(file).decode()).get_all("Requires-Dist") or []
    core = {text.split(">")[0].split("=")[0].split("<")[0].strip() for text in required if "extra ==" not in text}

    assert core & {"torch", "transformers", "trl", "peft", "openai", "datasets", "huggingface-hub", "numpy"} == set()
