"""What the toy worker can do: train, and every way of ending badly."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


def train(ctx: Any) -> Answer:
    """Steps of 10 ms, a checkpoint each, obeying `stop`; goes on where the attempt before stopped.

    `held_at` is the step at which the first attempt waits until it is stopped, or until there is a file `go`.
    """
    saved = ctx.dir / "checkpoint"
    first = int(saved.read_text()) if saved.exists() else 0
    for step in range(first + 1, ctx.request.get("steps", 3) + 1):
        while ctx.attempt == 1 and step == ctx.request.get("held_at") and not (ctx.stop or (ctx.dir / "go").exists()):
            time.sleep(0.01)
        if ctx.stop:
            return {"status": "paused" if ctx.stop == "pause" else "cancelled"}
        ctx.event("step", step=step, loss=1 / step)
        part = saved.with_suffix(".part")
        part.write_text(str(step))
        part.replace(saved)
        time.sleep(0.01)
    ctx.event("done", step=ctx.request.get("steps", 3), attempt=ctx.attempt)
    return {
        "model": "artifacts/adapter",
        "metrics": {"train_loss": 0.5},
        "usage": {"trained_tokens": 7, "train_s": 0.1},
        "artifacts": [{"kind": "adapter", "path": "artifacts/adapter", "sha256": "ab"}],
    }


def deaf(ctx: Any) -> None:
    """Never looks at `stop`; has a grandchild in a session of its own."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (ctx.dir / "grandchild").write_text(str(child.pid))
    ctx.event("deaf")
    time.sleep(600)


def slow_farewell(ctx: Any) -> Answer:
    """Told to stop, it saves until there is a file `go`, and a moment longer."""
    ctx.event("running")
    while not ctx.stop:
        time.sleep(0.01)
    ctx.event("saving")
    while not (ctx.dir / "go").exists():
        time.sleep(0.01)
    time.sleep(0.2)  # signals arrive a moment after they were sent
    return {"status": "paused"}


def import_for_ever(ctx: Any) -> None:
    """As a heavy library does: it swallows whatever an optional part of it raises, and never looks at `stop`."""
    with ctx.leaving_when_told():
        ctx.event("importing")
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # noqa: BLE001 - what libraries do
                continue


def import_in_a_moment(ctx: Any) -> Answer:
    """Told to stop after the import, not in it."""
    with ctx.leaving_when_told():
        ctx.event("importing")
    ctx.event("imported")
    while not ctx.stop:
        time.sleep(0.01)
    time.sleep(0.3)  # longer than anybody who still watched would need
    (ctx.dir / "saved").touch()
    return {"status": "paused"}


def tell_of_garbage(ctx: Any) -> None:
    """Whether it is collected during an import and after it, and whether what was imported is looked at then."""
    kept: list[list[str]] = []
    with ctx.leaving_when_told():
        ctx.event("importing", collects=gc.isenabled())
        kept.append([])
    ctx.event("imported", collects=gc.isenabled(), looks_at_it=any(one is kept for one in gc.get_objects()))


def write_environment(ctx: Any) -> None:
    (ctx.dir / "environ.json").write_text(json.dumps(dict(os.environ)))


def leak(ctx: Any) -> None:
    ctx.event(f"my key is {os.environ['TOY_API_KEY']}")
    raise ValueError(f"bad key {os.environ['TOY_API_KEY']}")


def fail_cleanly(ctx: Any) -> None:
    raise ctx.Failed("the loss is NaN at step 3")


def raise_error(ctx: Any) -> None:
    sys.stdout.write(f"about to divide\n{1 / 0}")


def system_exit(ctx: Any) -> None:
    sys.exit(0)


def kill_self(ctx: Any) -> None:
    sys.stdout.write("last words\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def segfault(ctx: Any) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def exit_137(ctx: Any) -> None:
    os._exit(137)


def exit_silently(ctx: Any) -> None:
    os._exit(0)


def crash_after_the_result(ctx: Any) -> Answer:
    atexit.register(os._exit, 3)
    return {"model": "m"}


def answer_nonsense(ctx: Any) -> Answer:
    return {"status": "splendid"}


def make_junk(ctx: Any) -> Answer:
    sys.stdout.buffer.write(b'\xff\xfe{"cursor": "9"}\n\x00' * 100)
    sys.stdout.buffer.flush()
    with (ctx.dir / "events.jsonl").open("ab") as file:
        file.write(b"not json\n[]\n{}\n\xff\n")
    ctx.event("after the junk", loss=float("nan"), step=1)
    return {"model": "m"}


def fill_the_disk(ctx: Any) -> None:
    with (ctx.dir / "checkpoint").open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()


def fill_the_disk_to_the_last_block(ctx: Any) -> None:
    """Leaves no room for a result either: the ballast goes too."""
    (ctx.dir / ".ballast").unlink()
    fill_the_disk(ctx)


def second_rank_fails(ctx: Any) -> Answer:
    if ctx.rank == 1:
        raise ctx.Failed("rank 1 gave up")
    return {"model": "m"}


def second_rank_hangs(ctx: Any) -> Answer:
    if ctx.rank == 0:
        ctx.event("running")
    else:
        (ctx.dir / "rank-1.pid").write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)


def count_ranks(ctx: Any) -> Answer:
    ctx.event(f"I am {ctx.rank}")
    (ctx.dir / f"rank-{ctx.rank}").write_text(str(ctx.world_size))
    return {"model": "m"}


def who_am_i(ctx: Any) -> Answer:
    """Where modules come from: a `random.py` in the working folder must not shadow the library's."""
    (Path.cwd() / "random.py").write_text("raise RuntimeError('shadowed')")
    found = importlib.import_module("random").__file__ or ""
    return {"model": f"{__name__} {Path(found).parent == Path(os.__file__).parent}"}
