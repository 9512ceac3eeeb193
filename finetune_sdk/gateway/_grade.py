"""Grades one answer, locked in: started as `python -I _grade.py GRADING`, order on stdin, answer on stdout.

Standard library only. `locked`, beside the module that grades, takes this process's rights away before anything of the
order runs.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any


def load(file: Path) -> ModuleType:
    """The module of a package's file, the package by path under a private name: `from . import x` works in it."""
    spec = importlib.util.spec_from_file_location(
        "grading", file.parent / "__init__.py", submodule_search_locations=[str(file.parent)]
    )
    assert spec is not None, "a path ending in .py"  # noqa: S101
    assert spec.loader is not None, "a path ending in .py"  # noqa: S101
    package = importlib.util.module_from_spec(spec)
    sys.modules["grading"] = package
    return importlib.import_module(f"grading.{file.stem}")


def restrict(seconds: int) -> None:
    """From here on: no network, no processes, no files written, little memory and time."""
    importlib.import_module("grading.locked").restrict(seconds)


def answer(grading: Any, order: dict[str, Any]) -> dict[str, Any]:
    """What to say to an order."""
    scores: dict[str, float] = {}
    grader = order.get("check") or order["run"]
    try:
        if "check" in order:
            grading.check(grader)
            return {"reward": 0.0, "scores": {}, "error": None, "flag": None}
        sample = grading.sample_of(order["sample"])
        parts: dict[str, Any] = grader.get("graders") or {}
        for name, part in parts.items():
            scores[name] = grading.build(part)(sample, order["item"])
        reward = grading.build(grader)(sample, order["item"])
    except (grading.GraderError, MemoryError) as error:
        return {
            "reward": 0.0,
            "scores": scores,
            "error": str(error) or "out of memory",
            "flag": flag(grader, str(error)),
        }
    return {"reward": reward, "scores": scores, "error": None, "flag": None}


def flag(grader: dict[str, Any], text: str) -> str:
    """Which of OpenAI's words fits."""
    if "calculate_output" in text:
        return "formula_parse_error"
    if "no such field" in text:
        return "invalid_variable_error"
    parts: dict[str, Any] = grader.get("graders") or {}
    kinds = {grader["type"], *(part["type"] for part in parts.values())}
    return "python_grader_runtime_error" if "python" in kinds else "other_error"


def main() -> None:
    """One order, one answer."""
    grading = load(Path(sys.argv[1]))
    order = json.load(sys.stdin)
    os.chdir(tempfile.gettempdir())
    speak = os.dup(1)
    os.dup2(2, 1)  # what a grader prints is no answer of ours
    restrict(order["seconds"])
    os.write(speak, json.dumps(answer(grading, order)).encode())


if __name__ == "__main__":
    main()
