"""The parent of a deployment's front: `python -I watchdog.py FOLDER LISTENFD LOCKFD -- COMMAND...`. Stdlib only.

It detaches from whoever deploys, keeps the listening socket (so the port is kept and clients queue while the front is
started again), starts the front, and starts it again when it dies. It leaves on SIGTERM or when the marker `stop` lies
in the folder or the folder is gone, and leaves nothing running behind it.
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
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parent.parent / "worker"
STOP = "stop"
RECORD = "deployment.json"
LOG = "server.log"
STATE = "state.json"
_SIGNALS = {signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP}
_TICK_S = 1.0
_LEAVING_S = 15.0
_PAUSES_S = (0.1, 0.5, 2.0, 10.0, 30.0)
_STEADY_S = 60.0  # a front that lived so long was well; the next pause is a short one again
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _load(path: Path, name: str) -> Any:  # a module; typed by nobody, because it is loaded by path
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


wire = _load(WORKER / "wire.py", "_finetune_wire")
ends = _load(WORKER / "ends.py", "_finetune_ends")


def detach(folder: Path, listen_fd: int, lock_fd: int, command: list[str]) -> int:
    """Fork the watchdog proper and return once it has written `process.json`, or 1 with the reason on stderr."""
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as pipe:
            answer = pipe.read()
        if answer != "ok":
            print(answer or "the watchdog died", file=sys.stderr)  # noqa: T201
        return 0 if answer == "ok" else 1
    os.close(read)
    os.setsid()
    with os.fdopen(write, "w", encoding="utf-8") as pipe:
        try:
            _settle_in(folder)
        except OSError as exc:
            pipe.write(f"cannot start: {type(exc).__name__}: {exc}")
            return 1
        os.close(lock_fd)  # before the answer: whoever reads "ok" finds the folder free
        pipe.write("ok")
    _guard(folder, [*command, str(folder), str(listen_fd)], listen_fd)
    return 0


def _settle_in(folder: Path) -> None:
    """Point stdio at the log and write `process.json`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited as ignored, it would hide how the front ended
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    log = os.open(folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    identity = {
        "pid": os.getpid(),
        "start_ticks": ends.start_ticks(os.getpid()),
        "boot_id": ends.boot_id(),
        "token": os.environ.get(wire.TOKEN_ENV, ""),
        "worker_pid": os.getpid(),
        "attempt": 1,
        "log_offset": os.fstat(log).st_size,
    }
    wire.write_json(folder / wire.PROCESS, identity)


def _guard(folder: Path, command: list[str], listen_fd: int) -> None:
    """Keep the front alive until told to leave."""
    quick = 0
    while not _dismissed(folder):
        began = time.monotonic()
        front = subprocess.Popen(command, pass_fds=[listen_fd], preexec_fn=_in_front)  # noqa: PLW1509 - one thread here
        told = _until_end(folder, front)
        ends.kill_descendants()  # an engine whose front is gone
        ends.reap_others(front.pid)
        if told:
            break
        quick = 0 if time.monotonic() - began > _STEADY_S else quick + 1
        pause_s = _PAUSES_S[min(quick, len(_PAUSES_S)) - 1] if quick else _PAUSES_S[0]
        print(f"the front ended ({ends.how(front.returncode, who='it')}); again in {pause_s:g} s", flush=True)  # noqa: T201
        got = signal.sigtimedwait({signal.SIGTERM}, pause_s)
        if got is not None:
            break
    with contextlib.suppress(OSError):
        (folder / STATE).unlink(missing_ok=True)


def _dismissed(folder: Path) -> bool:
    """Told to leave, or the deployment's folder is gone and nobody could tell."""
    return (folder / STOP).exists() or not (folder / RECORD).exists()


def _until_end(folder: Path, front: subprocess.Popen[bytes]) -> bool:
    """Wait for the front; True when it was to leave."""
    told_s: float | None = None
    while front.poll() is None:
        got = signal.sigtimedwait(_SIGNALS, _TICK_S)
        ends.reap_others(front.pid)
        terminated = got is not None and got.si_signo == signal.SIGTERM
        if told_s is None and (terminated or _dismissed(folder)):
            told_s = time.monotonic()
            front.terminate()
        if told_s is not None and time.monotonic() - told_s > _LEAVING_S:
            front.kill()
    return told_s is not None


def _in_front() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value)


if __name__ == "__main__":
    split = sys.argv.index("--")
    sys.exit(detach(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[split + 1 :]))
