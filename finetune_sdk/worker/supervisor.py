"""The parent of a worker: `python -I supervisor.py JOBDIR LOCKFD -- COMMAND...`. Standard library only.

It detaches from the submitter, starts the command, writes `process.json`, and stays until everything the worker started
is gone. It is the one who knows how a worker died, so a worker that could not say so itself ends with a named cause. It
turns the marker files into signals, and what does not leave in time is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CANCEL_GRACE_S = 30.0
PAUSE_GRACE_S = 300.0  # a checkpoint of a large model takes minutes on a slow disk
FAREWELL_S = 60.0  # after result.json: experiment trackers upload at exit
_TICK_S = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = {signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP}


def _load(path: Path, name: str) -> Any:  # a module; typed by nobody, because it is loaded by path
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


wire = _load(HERE / "wire.py", "_finetune_wire")
ends = _load(HERE / "ends.py", "_finetune_ends")
redact = _load(HERE.parent / "redact.py", "_finetune_redact").redact


def detach(job_dir: Path, lock_fd: int, command: list[str]) -> int:
    """Fork the supervisor proper and return once it has written `process.json`, or 1 with the reason on stderr."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            answer = pipe.read()
        if answer != "ok":
            print(answer or "the supervisor died", file=sys.stderr)  # noqa: T201
        return 0 if answer == "ok" else 1
    os.close(read)
    os.setsid()
    with os.fdopen(write, "w", encoding="utf-8") as pipe:
        try:
            watch = _launch(job_dir, command)
        except OSError as exc:
            pipe.write(f"cannot start the worker: {type(exc).__name__}: {exc}")
            return 1
        os.close(lock_fd)  # before the answer: whoever reads "ok" finds the folder free
        pipe.write("ok")
    watch.until_end()
    return 0


def _launch(job_dir: Path, command: list[str]) -> Watch:
    """Point stdio at the log, start the worker, write `process.json`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide how the worker ended
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    log = os.open(job_dir / wire.LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    offset = os.fstat(log).st_size
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    wire.add_ballast(job_dir)
    spec: dict[str, Any] = wire.read_json(job_dir / wire.SPEC) or {}
    ooms = ends.oom_kills()
    worker = subprocess.Popen(command, cwd=job_dir, preexec_fn=_in_worker)  # noqa: PLW1509 - one thread here
    watch = Watch(job_dir=job_dir, worker=worker, log_offset=offset, ooms=ooms, spec=spec)
    try:
        wire.write_json(job_dir / wire.PROCESS, watch.identity())
    except OSError:
        worker.kill()
        worker.wait()
        raise
    return watch


def _in_worker() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # whatever a submitter's nohup or daemon left ignored
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value)


@dataclass(kw_only=True)
class Watch:
    """One worker being watched."""

    job_dir: Path
    worker: subprocess.Popen[bytes]
    log_offset: int
    ooms: int
    spec: dict[str, Any]
    started_s: float = field(default_factory=time.monotonic)
    stopping: str | None = None
    """Which marker is being obeyed."""
    kill_at_s: float | None = None

    def identity(self) -> dict[str, Any]:
        """What `process.json` says: enough to tell this process from a later one with the same number."""
        return {
            "pid": os.getpid(),
            "start_ticks": ends.start_ticks(os.getpid()),
            "boot_id": ends.boot_id(),
            "token": os.environ.get(wire.TOKEN_ENV, ""),
            "worker_pid": self.worker.pid,
            "attempt": self.spec.get("attempt", 1),
            "log_offset": self.log_offset,
        }

    def until_end(self) -> None:
        """Wait for the worker, obeying markers, signals and the time budget; then leave nothing behind but a result."""
        while self.worker.poll() is None:
            got = signal.sigtimedwait(_SIGNALS, _TICK_S)
            ends.reap_others(self.worker.pid)
            self._obey_markers(terminated=got is not None and got.si_signo == signal.SIGTERM)
            self._mind_the_clock()
        ends.kill_descendants()
        self._settle()
        (self.job_dir / wire.BALLAST).unlink(missing_ok=True)

    def _obey_markers(self, *, terminated: bool) -> None:
        wanted = next((name for name in (wire.CANCEL, wire.PAUSE, wire.STOP) if (self.job_dir / name).exists()), None)
        if wanted is None and terminated:
            self._stop_because("stopped by SIGTERM from outside; checkpoints are kept, resume to continue")
        elif wanted is not None and self.stopping not in (wanted, wire.CANCEL):
            self._begin_stop(wanted)

    def _mind_the_clock(self) -> None:
        now = time.monotonic()
        hours = self.spec.get("request", {}).get("budget_max_hours")
        if hours is not None and self.stopping is None and now - self.started_s > float(hours) * 3600:
            self._stop_because(
                f"budget.max_hours ({hours:g} h) reached; checkpoints are kept. "
                "Resuming grants the same time again; for more, raise budget.max_hours"
            )
        if self.kill_at_s is None and (self.job_dir / wire.RESULT).exists():
            self.kill_at_s = now + FAREWELL_S
        if self.kill_at_s is not None and now > self.kill_at_s:
            ends.kill_descendants()

    def _stop_because(self, reason: str) -> None:
        with contextlib.suppress(OSError):  # a full disk: the worker cannot be asked, but it will be stopped
            wire.write_json(self.job_dir / wire.STOP, {"reason": reason})
        self._begin_stop(wire.STOP)

    def _begin_stop(self, marker: str) -> None:
        asked: float | None = wire.read_field(self.job_dir / marker, "grace_s")
        grace_s = asked if asked is not None else CANCEL_GRACE_S if marker == wire.CANCEL else PAUSE_GRACE_S
        self.stopping = marker
        self.kill_at_s = time.monotonic() + grace_s
        if (
            self.spec.get("processes", 1) == 1
        ):  # torchrun answers SIGTERM by tearing its ranks down; they see the marker
            with contextlib.suppress(ProcessLookupError):
                self.worker.send_signal(signal.SIGTERM)

    def _settle(self) -> None:
        """Write the result the worker could not write, or correct one that a failed rank has overtaken."""
        result = wire.read_json(self.job_dir / wire.RESULT)
        code = self.worker.returncode
        many = self.spec.get("processes", 1) > 1
        if result is not None and not (many and code != 0 and result.get("status") == "succeeded"):
            return
        end = ends.explain(
            self.job_dir, code=code, oom_killed=ends.oom_kills() > self.ooms, log_offset=self.log_offset, wire=wire
        )
        end["error"] = redact(end["error"]) if end["error"] else None
        with contextlib.suppress(OSError):  # a disk so full that not even this fits: the reader infers it
            wire.write_json(self.job_dir / wire.RESULT, end)


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(detach(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[split + 1 :]))
