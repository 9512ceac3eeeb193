"""What the worker settles before Unsloth is imported, seen by a process like the worker's."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from finetune_providers.unsloth.provider import UnslothProvider
from finetune_providers.unsloth.worker import settle

SETTLE = """
import importlib, importlib.util, json, os, sys
from pathlib import Path
from types import SimpleNamespace
folder, job, device = sys.argv[1:]
spec = importlib.util.spec_from_file_location("w", folder + "/__init__.py", submodule_search_locations=[folder])
sys.modules["w"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["w"])
options = {"llama_cpp": None, "local_files_only": True}
request = {"compute": {"device": device, "threads": 1}, "options": options}
ctx = SimpleNamespace(dir=Path(job), request=request, rank=0, world_size=1, event=print)
importlib.import_module("w.settle").environment(ctx)
print(json.dumps({"cwd": os.getcwd(), **os.environ}))
"""


def _settled(folder: Path, device: str = "auto") -> dict[str, str]:
    command = [sys.executable, "-I", "-c", SETTLE, str(UnslothProvider.worker), str(folder), device]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin:/bin"})
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_unsloth_may_install_nothing(tmp_path: Path) -> None:
    assert _settled(tmp_path)["UNSLOTH_AUTO_INSTALL"] == "0"


def test_what_unsloth_compiles_stays_in_the_jobs_folder(tmp_path: Path) -> None:
    found = _settled(tmp_path)

    assert Path(found["cwd"]) == tmp_path / "cache"
    assert Path(found["UNSLOTH_COMPILE_LOCATION"]).parent == tmp_path / "cache"


@pytest.mark.parametrize(("device", "forced"), [("cpu", "1"), ("auto", None)])
def test_the_cpu_is_forced_only_when_it_was_asked_for(tmp_path: Path, device: str, forced: str | None) -> None:
    assert _settled(tmp_path, device).get("UNSLOTH_FORCE_CPU") == forced


@pytest.mark.parametrize(
    ("model_class", "spared"),
    [("language", True), ("general", True), ("vision", False), ("sentence", False), ("whisper", False), ("csm", False)],
)
def test_only_a_job_with_text_is_spared_the_packages_for_other_data(model_class: str, spared: bool) -> None:
    assert bool(settle.unused({"options": {"model_class": model_class}})) is spared
