"""A child of the ONNX worker: `python -I child.py ORDERS ANSWER EVENTS_FD`, or `--serve` and three pipes (`server`)."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
_PR_SET_PDEATHSIG = 1
_MARKERS = (("cancel", "cancel"), ("pause", "pause"), ("stop", "pause"))


class Failed(Exception):
    """A failure whose reason is known."""


@contextlib.contextmanager
def loading() -> Generator[None]:
    """While libraries load no garbage is looked for: there is hardly any among a million objects, and they all stay."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Child:
    """What a task may use: the job's folder, events, and whether to stop."""

    Failed = Failed
    loading = staticmethod(loading)

    def __init__(self, job_dir: Path, events: int) -> None:
        self.dir = job_dir
        self._events = events

    def event(self, message: str, *, level: str = "info", step: int | None = None, **metrics: float) -> None:
        """One line of the job's history."""
        row = {"message": message, "level": level, "step": step, "metrics": {k: float(v) for k, v in metrics.items()}}
        data = (json.dumps(row) + "\n").encode()
        while data:
            data = data[os.write(self._events, data) :]

    @property
    def stop(self) -> str | None:
        """None, "pause" or "cancel"."""
        return next((wish for name, wish in _MARKERS if (self.dir / name).exists()), None)


def load(folder: Path, name: str) -> ModuleType:
    """A package by its folder, under a private name: a folder called `peft` can never hide the library."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no package at {folder}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def main(orders: Path, answer: Path, events: int) -> int:
    """Do the task and write its answer, whole or not at all."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # without the worker nobody reads the answer
    given: dict[str, Any] = json.loads(orders.read_text(encoding="utf-8"))
    child = Child(Path(given["job_dir"]), events)
    try:
        load(HERE / "tasks", "finetune_onnx_tasks")
        with child.loading():
            task = importlib.import_module(f"finetune_onnx_tasks.{given['task']}")
        found: dict[str, Any] = {"answer": task.run(child, given["orders"])}
    except Failed as exc:
        found = {"failed": str(exc)}
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - Olive ends its process; whatever it was, it is told
        traceback.print_exc()
        text = " ".join(str(exc).split())[:600]
        found = {"failed": f"{given['task']}: {type(exc).__name__}: {text}. The whole story is in worker.log."}
    part = answer.with_suffix(".part")
    part.write_text(json.dumps(found), encoding="utf-8")
    part.replace(answer)
    return 0 if "answer" in found else 3


def serve(orders: int, answers: int, events: int) -> int:
    """Load what takes long, then fork a child per line of orders; tell its pid, and its exit code when it has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with loading():
        for name in ("torch", "transformers", "peft", "olive.workflows"):
            if importlib.util.find_spec(name.partition(".")[0]) is not None:
                importlib.import_module(name)
    with os.fdopen(orders, encoding="utf-8") as lines:
        for line in lines:
            given = json.loads(line)
            pid = os.fork()
            if pid == 0:
                os._exit(_forked(Path(given["orders"]), Path(given["answer"]), events))
            os.write(answers, (json.dumps({"pid": pid}) + "\n").encode())
            _, status = os.waitpid(pid, 0)
            os.write(answers, (json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n").encode())
    return 0


def _forked(orders: Path, answer: Path, events: int) -> int:
    try:
        return main(orders, answer, events)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        sys.exit(serve(*map(int, sys.argv[2:])))
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
