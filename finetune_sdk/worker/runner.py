"""The worker's side of a job: `python -I runner.py JOBDIR`, or the same under torchrun. Standard library only.

It loads the worker that `spec.json` names, calls its `main(ctx)` and writes `result.json` last. What a worker may use
of `ctx` is `Context` below, and docs/workers.md. It never imports the SDK: that is not installed where this runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import json
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal

HERE = Path(__file__).resolve().parent
STATUSES = ("succeeded", "failed", "cancelled", "paused")
_PR_SET_PDEATHSIG = 1
_LOOK_S = 0.1


def load(path: Path, name: str) -> ModuleType:
    """Import the file or package at `path` under `name`, whatever it is called on disk; sys.path stays as it is."""
    package = path.is_dir()
    spec = importlib.util.spec_from_file_location(
        name,
        path / "__init__.py" if package else path,
        submodule_search_locations=[str(path)] if package else None,
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no worker at {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


wire: Any = load(HERE / "wire.py", "_finetune_wire")
redact: Any = load(HERE.parent / "redact.py", "_finetune_redact").redact


class Failed(Exception):
    """Raise it for a failure whose reason is known: the job ends as FAILED with this text, without a traceback."""


class Context:
    """What a worker's `main` gets. Everything else it needs is in `request`."""

    Failed = Failed

    def __init__(self, job_dir: Path) -> None:
        spec = json.loads((job_dir / wire.SPEC).read_text(encoding="utf-8"))
        self.dir: Path = job_dir
        self.job_id: str = spec["job_id"]
        self.request: dict[str, Any] = spec["request"]
        self.attempt: int = spec["attempt"]
        """1 for the first run; above that, continue from the newest whole checkpoint."""
        self.worker = Path(spec["worker"])
        self.rank = int(os.environ.get("RANK", "0"))
        self.world_size = int(os.environ.get("WORLD_SIZE", "1"))
        self.terminated = False
        self._events = EventLog(job_dir / wire.EVENTS) if self.rank == 0 else None

    def event(self, message: str, *, level: str = "info", step: int | None = None, **metrics: float) -> None:
        """Append one line to the job's history. Ranks other than 0 write nothing; NaN and infinity are left out."""
        if self._events is not None:
            self._events.append(redact(message), level=level, step=step, metrics=metrics)

    @property
    def stop(self) -> Literal["cancel", "pause"] | None:
        """Poll it every step: "cancel" = leave soon, "pause" = save a checkpoint and leave, then return that status.

        With several processes they see it at different steps: agree on it (an all-reduce) before one of them leaves.
        """
        if (self.dir / wire.CANCEL).exists():
            return "cancel"
        if self.terminated or (self.dir / wire.PAUSE).exists() or (self.dir / wire.STOP).exists():
            return "pause"
        return None

    @contextlib.contextmanager
    def leaving_when_told(self) -> Generator[None]:
        """For imports that take seconds: while it is open, being told to stop ends this process at once.

        It is cut off wherever it is; only the result is written. With several processes it cuts nothing off: a rank
        that left alone would leave the others waiting for it. What is loaded is left to stay (`_loading`).
        """
        with _loading(), contextlib.nullcontext() if self.world_size > 1 else self._watching():
            yield

    @contextlib.contextmanager
    def _watching(self) -> Generator[None]:
        done, deciding = threading.Event(), threading.Lock()

        def watch() -> None:
            while not self.stop:
                if done.wait(_LOOK_S):
                    return
            with deciding:  # held until the process is gone: no worker goes on beside its result
                if not done.is_set():
                    os._exit(_end(self, _checked(self, {"status": "cancelled" if self.stop == "cancel" else "paused"})))

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            with deciding:
                done.set()


@contextlib.contextmanager
def _loading() -> Generator[None]:
    """No garbage is collected meanwhile, and what is there at the end counts as here to stay.

    A million objects come with torch, hardly one of them garbage. Looking through them again and again, at the exit
    too, takes a third of the time of a short job.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class EventLog:
    """`events.jsonl`, appended line by line; cursors go on where the attempt before stopped."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._cursor, torn = self._last()
        if torn:  # the attempt before was killed inside a line
            os.write(self._fd, b"\n")

    def _last(self) -> tuple[int, bool]:
        size = os.fstat(self._fd).st_size
        tail = os.pread(self._fd, 1 << 20, max(0, size - (1 << 20)))
        for line in reversed(tail.split(b"\n")):
            try:
                return int(json.loads(line)["cursor"]), not tail.endswith(b"\n")
            except (ValueError, KeyError, TypeError):
                continue
        return 0, bool(tail) and not tail.endswith(b"\n")

    def append(self, message: str, *, level: str, step: int | None, metrics: dict[str, float]) -> None:
        with self._lock:
            self._cursor += 1
            row = {
                "cursor": f"{self._cursor:09d}",
                "at": datetime.now(UTC).isoformat(),
                "level": level,
                "message": message,
                "step": None if step is None else int(step),
                "metrics": {name: float(value) for name, value in metrics.items() if math.isfinite(value)},
            }
            data = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace")
            while data:  # a nearly full disk takes a part
                data = data[os.write(self._fd, data) :]


def run(job_dir: Path) -> int:
    """Run the job's worker to its end and write what became of it. Returns the exit code."""
    ctx = Context(job_dir)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the submitter's business
    if ctx.world_size == 1:
        _listen(ctx)
    else:
        _die_with_parent()
    return _end(ctx, _outcome(ctx))


def _end(ctx: Context, result: dict[str, Any]) -> int:
    if result["status"] == "failed" and (ctx.dir / wire.CANCEL).exists():
        result["status"] = "cancelled"  # being told to leave is often answered by an exception
    if ctx.rank == 0:
        wire.write_json(ctx.dir / wire.RESULT, result)
    elif result["status"] == "failed":
        wire.write_json(ctx.dir / wire.rank_error(ctx.rank), result)
    return 1 if result["status"] == "failed" else 0


def _outcome(ctx: Context) -> dict[str, Any]:
    try:
        returned = load(ctx.worker, "finetune_worker").main(ctx)
        return _checked(ctx, {"status": "succeeded", **(returned or {})})
    except Failed as exc:
        return _failed(str(exc))
    except BaseException as exc:  # noqa: BLE001 - whatever ends a worker, SystemExit too, must reach result.json
        print(redact(traceback.format_exc()), file=sys.stderr, flush=True)  # noqa: T201
        return _failed(f"{type(exc).__name__}: {exc}")


def _checked(ctx: Context, result: dict[str, Any]) -> dict[str, Any]:
    if result["status"] not in STATUSES:
        return _failed(f"the worker answered with status {result['status']!r}; it may be one of {', '.join(STATUSES)}")
    json.dumps(result)  # a result that cannot be written must fail here, where it is caught
    if result["status"] in ("cancelled", "paused"):
        return result | _why_stopped(ctx, result["status"])
    return result


def _why_stopped(ctx: Context, status: str) -> dict[str, Any]:
    """A worker only knows that it should leave; who asked decides what the job becomes."""
    if (ctx.dir / wire.CANCEL).exists():
        return {"status": "cancelled"}
    if (ctx.dir / wire.PAUSE).exists():
        return {"status": "paused"}
    reason = wire.read_field(ctx.dir / wire.STOP, "reason")
    if reason is None and ctx.terminated:
        reason = "stopped by SIGTERM from outside; checkpoints are kept, resume to continue"
    return {"status": "failed", "error": reason} if reason else {"status": status}


def _failed(error: str) -> dict[str, Any]:
    return {"status": "failed", "error": redact(error), "model": None, "metrics": {}, "usage": {}, "artifacts": []}


def _listen(ctx: Context) -> None:
    """SIGTERM asks to leave. Not so under torchrun: there it means that another rank has failed."""

    def terminate(_number: int, _frame: FrameType | None) -> None:
        ctx.terminated = True  # a second SIGTERM changes nothing: it must not interrupt the farewell

    signal.signal(signal.SIGTERM, terminate)


def _die_with_parent() -> None:
    """The parent is torchrun, and ranks live in sessions of their own: they must not outlive it."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):  # not Linux: the supervisor's sweep has to do
        return


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]).resolve()))
