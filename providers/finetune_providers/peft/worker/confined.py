"""Graders of people who may not run code on this machine: every answer is graded by a process that is locked in.

Imported, this is the worker's side. Run as `python -I confined.py`, it is the other one: it reads the grader and then a
sample a line, and forks for each, so that no grading sees what another left, and none outlives its time.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS = 30
"""Processor time of one grading; it may last twice as long by the clock."""
_ANSWER_BYTES = 1 << 16
_ENV = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""All that a grader sees of the worker's variables; libraries that start threads would not get them."""


class Broken(Exception):
    """The grading failed; the text says how."""


class Grading:
    """A grader behind the lock. Its process starts with the first sample and ends with this one."""

    def __init__(self, source: str, name: str) -> None:
        self._order = {"source": source, "name": name}
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, sample: Mapping[str, Any], item: Mapping[str, Any]) -> float:
        """The reward. Raises `Broken`."""
        if self._process is None:
            command = [sys.executable, "-I", __file__]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            self._process = subprocess.Popen(command, text=True, env=_ENV, **pipes)  # type: ignore[call-overload]
            weakref.finalize(self, _end, self._process)
            self._send(self._order)
        self._send({"sample": dict(sample), "item": dict(item)})
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise Broken("the grader's process has ended")
        told: dict[str, Any] = json.loads(line)
        if told["error"] is not None:
            raise Broken(told["error"])
        return float(told["reward"])

    def _send(self, value: Mapping[str, Any]) -> None:
        assert self._process is not None, "started"  # noqa: S101
        assert self._process.stdin is not None, "a pipe"  # noqa: S101
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Broken("the grader's process has ended") from None


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


# --- the other side -------------------------------------------------------------------------------------------------


def _package() -> tuple[Any, Any]:
    """`graders` and `locked` of this folder, which is a package that nobody imported here."""
    folder = Path(__file__).parent
    spec = importlib.util.spec_from_file_location(
        "grading", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None, "a path ending in .py"  # noqa: S101
    sys.modules["grading"] = importlib.util.module_from_spec(spec)
    return importlib.import_module("grading.graders"), importlib.import_module("grading.locked")


def _graded(graders: Any, order: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    try:
        grade = graders.build({"type": "python", "source": order["source"], "file": order["name"]})
        return {"reward": grade(asked["sample"], asked["item"]), "error": None}
    except (graders.GraderError, MemoryError) as error:
        return {"reward": 0.0, "error": str(error) or "out of memory"}


def _child(graders: Any, locked: Any, order: Mapping[str, Any], asked: Mapping[str, Any], speak: int) -> None:
    """The forked process: locked in, it grades, says so, and is gone."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    try:
        locked.restrict(SECONDS)
        os.write(speak, json.dumps(_graded(graders, order, asked)).encode()[:_ANSWER_BYTES])
    except SystemExit as end:
        os.write(speak, json.dumps({"reward": 0.0, "error": str(end)}).encode())
    finally:
        os._exit(0)


def _answer(graders: Any, locked: Any, order: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    listen, speak = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listen)
        _child(graders, locked, order, asked, speak)
    os.close(speak)
    said, end = b"", time.monotonic() + 2 * SECONDS
    while select.select([listen], [], [], max(0.0, end - time.monotonic()))[0]:
        piece = os.read(listen, _ANSWER_BYTES)
        if not piece:
            break
        said += piece
    else:
        os.kill(child, signal.SIGKILL)
    os.close(listen)
    os.waitpid(child, 0)
    try:
        told: dict[str, Any] = json.loads(said)
    except ValueError:
        return {"reward": 0.0, "error": "the grader used more time or memory than it may"}
    return told


def main() -> None:
    """Grade until nobody asks any more."""
    graders, locked = _package()
    order: Mapping[str, Any] | None = None
    for line in sys.stdin:
        if order is None:
            order = json.loads(line)
            continue
        sys.stdout.write(json.dumps(_answer(graders, locked, order, json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
