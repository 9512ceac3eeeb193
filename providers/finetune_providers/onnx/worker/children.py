"""One child process per piece of work: started, listened to, killed when the job is to stop.

The child reads its orders from a file, sends events as JSON lines over a pipe, and writes its answer to a file. What it
prints goes to the worker's log.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .context import Context, Stopped
from .server import Server

_SERVER = Server()
CHILD = Path(__file__).with_name("child.py")
_LOOK_S = 0.2
_GRACE_S = 240.0
"""How long a child that saves its work before it leaves may take; the supervisor's own patience may end sooner."""


def run(
    ctx: Context,
    task: str,
    orders: Mapping[str, Any],
    *,
    python: str | None = None,
    graceful: bool = False,
    heavy: bool = False,
) -> dict[str, Any]:
    """`tasks.<task>.run(orders)` in a process of its own; its answer. Raises `ctx.Failed`, or `Stopped`.

    `python`: None = this interpreter. `graceful`: the child sees the job's stop markers itself and leaves by itself;
    others are killed. `heavy`: it needs torch, which a server of forks has loaded already.
    """
    scratch = ctx.dir / "scratch"
    scratch.mkdir(exist_ok=True)
    given, answer = scratch / f"{task}.orders.json", scratch / f"{task}.answer.json"
    answer.unlink(missing_ok=True)
    given.write_text(json.dumps({"task": task, "job_dir": str(ctx.dir), "orders": dict(orders)}), encoding="utf-8")
    begin = _SERVER.task if heavy and python is None and Server.possible() else partial(_spawned, python)
    with begin(given, answer, scratch, lambda: ctx.stop) as (process, events):
        stopped = _follow(ctx, process, events, graceful=graceful)
    if stopped is not None and not graceful:
        raise Stopped(stopped)
    return _answer(ctx, task, answer, process.returncode or 0)


@contextmanager
def _spawned(
    python: str | None, given: Path, answer: Path, folder: Path, _stop: Callable[[], object]
) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """A process from scratch, and the end of the pipe that its events come from."""
    read, write = os.pipe()
    try:
        command = [python or sys.executable, "-I", str(CHILD), str(given), str(answer), str(write)]
        try:
            process = subprocess.Popen(command, pass_fds=(write,), stdin=subprocess.DEVNULL, cwd=folder)
        finally:
            os.close(write)
        yield process, read
    finally:
        os.close(read)


def _follow(ctx: Context, process: Any, events: int, *, graceful: bool) -> str | None:
    """Pass its events on until it has ended; what it was stopped for."""
    stopped, kill_at_s, rest, ended = None, None, b"", False
    while True:
        rest = _pass_on(ctx, events, rest, wait_s=0.0 if ended else _LOOK_S)
        if ended:  # what it said before it ended has just been read
            return stopped
        if stopped is None and ctx.stop:
            stopped = ctx.stop
            kill_at_s = time.monotonic() + (_GRACE_S if graceful else 0.0)
        if kill_at_s is not None and time.monotonic() >= kill_at_s:
            process.kill()
        ended = process.poll() is not None


def _pass_on(ctx: Context, events: int, rest: bytes, *, wait_s: float) -> bytes:
    """The events there are, those of the next moment included; answers the beginning of an unfinished line."""
    while select.select([events], [], [], wait_s)[0]:
        block = os.read(events, 1 << 16)
        if not block:
            time.sleep(wait_s)
            break
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            _tell(ctx, line)
        wait_s = 0.0
    return rest


def _tell(ctx: Context, line: bytes) -> None:
    told = json.loads(line)
    ctx.event(told["message"], level=told["level"], step=told["step"], **told["metrics"])


def _answer(ctx: Context, task: str, file: Path, code: int) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        more = "; out of memory is the usual reason" if code == -signal.SIGKILL else ""
        raise ctx.Failed(
            f"{task}: its process {why} before it could answer{more}; see worker.log. "
            "Finished stages are kept: resume the job to go on from there."
        ) from None
    if "failed" in found:
        raise ctx.Failed(found["failed"])
    return found["answer"]
