"""A stranger's provider, installed as a distribution of its own into a folder, by the ordinary tools."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import write_rows

Python = Callable[[str], str]
HERE = Path(__file__).parent


def _install(source: Path, site: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
        "--disable-pip-version-check", "--root-user-action=ignore", "--target", str(site), str(source),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plug-in in it."""
    pytest.importorskip("hatchling", reason="the plug-in is built with it, offline")
    source = tmp_path_factory.mktemp("source") / "echo"
    shutil.copytree(HERE / "echo", source, ignore=shutil.ignore_patterns("__pycache__"))
    site = tmp_path_factory.mktemp("site")
    _install(source, site)
    return site


@pytest.fixture
def python(site: Path) -> Python:
    """Runs code where the plug-in is installed beside the SDK; answers what it printed."""

    def run(code: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(site)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def test_the_plug_in_is_found_with_its_distribution(python: Python) -> None:
    code = "from finetune_sdk.registry import providers; print([one for one in providers() if one.name == 'echo'])"

    assert "distribution='finetune-echo', version='1.0'" in python(code)


def test_the_plug_in_runs_a_job(python: Python, tmp_path: Path) -> None:
    spec = {"provider": "echo", "model": "my-model", "data": {"train": str(write_rows(tmp_path))}}
    code = (
        "from finetune_sdk import FineTuneJob;"
        f"job = FineTuneJob.submit({json.dumps(spec)}, home={str(tmp_path / 'home')!r});"
        "print(job.wait().model, [event.message for event in job.follow()])"
    )

    assert python(code) == "my-model ['echo']"


def test_a_second_claim_to_its_name_is_refused_with_both_claimants(python: Python, site: Path) -> None:
    rival = site / "finetune_rival-2.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: finetune-rival\nVersion: 2.0\n")
    (rival / "entry_points.txt").write_text("[finetune_sdk.providers]\necho = finetune_rival:Echo\n")
    code = (
        "from finetune_sdk.errors import DuplicateProvider\n"
        "from finetune_sdk.registry import provider_class\n"
        "try: provider_class('echo')\n"
        "except DuplicateProvider as exc: print(exc)"
    )

    said = python(code)
    shutil.rmtree(rival)
    assert "finetune_echo:EchoProvider (finetune-echo) and finetune_rival:Echo (finetune-rival)" in said


@pytest.mark.parametrize("file", ["pyproject.toml", "finetune_echo/__init__.py"])
def test_the_page_shows_the_plug_in_as_it_is(file: str) -> None:
    page = HERE.parents[1] / "docs" / "writing-a-provider.md"

    assert (HERE / "echo" / file).read_text() in page.read_text()
