"""The processes of a local deployment: a watchdog that outlives its starter, the front it watches, socket and lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Literal

from finetune_sdk.deploy import record
from finetune_sdk.deploy.record import Record
from finetune_sdk.errors import ProviderError, StoreError
from finetune_sdk.worker import surroundings, wire
from finetune_sdk.worker.liveness import Process

_STOPPING_S = 30.0
_WATCHDOG = Path(__file__).with_name("watchdog.py")
_START_S = 120.0


def ensure_running(folder: Path, written: Record, lock: int) -> None:
    """Start what does not run. Raises `ProviderError` when it cannot be started."""
    process = Process.read(folder)
    if process is not None and process.alive:
        return
    if process is not None:
        process.sweep()
    for name in (record.STOP, record.STATE):
        (folder / name).unlink(missing_ok=True)
    with _listening(written) as listening:
        _launch(folder, listening, lock)


def end(folder: Path) -> None:
    """End them all. Idempotent."""
    (folder / record.STOP).touch()
    process = Process.read(folder)
    if process is None:
        return
    give_up_s = time.monotonic() + _STOPPING_S
    if process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        while process.alive and time.monotonic() < give_up_s:
            time.sleep(0.02)
        if process.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    process.sweep()


def _launch(folder: Path, listening: socket.socket, lock: int) -> None:
    token = secrets.token_hex(16)
    fd = listening.fileno()
    front = [sys.executable, "-P", "-u", "-m", "finetune_sdk.deploy.front"]
    done = subprocess.run(
        [sys.executable, "-I", "-u", str(_WATCHDOG), str(folder), str(fd), str(lock), "--", *front],
        env=surroundings.minimal({wire.TOKEN_ENV: token, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[fd, lock],
        check=False,
        timeout=_START_S,
    )
    if done.returncode != 0:
        raise ProviderError(f"[local] the server cannot be started: {done.stderr.strip()[-500:]}", sent=False)


@contextlib.contextmanager
def _listening(written: Record) -> Generator[socket.socket]:
    """The socket at the deployment's own port. Raises `ProviderError` when somebody else has it."""
    family = socket.AF_INET6 if ":" in written.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((written.host, written.port))
        except OSError as exc:
            raise ProviderError(
                f"[local] cannot listen on {written.host}:{written.port}: {exc.strerror}. Free the port, or remove the "
                "deployment and deploy it at another one.",
                sent=False,
            ) from exc
        listening.listen(2048)
        yield listening


def status(folder: Path) -> tuple[Literal["starting", "ready", "failed", "stopped"], str | None]:
    """How it stands, and the error if any."""
    process = Process.read(folder)
    if process is None or not process.alive:
        crashed = process is not None and not (folder / record.STOP).exists()
        return "stopped", "it was killed, or the machine restarted" if crashed else None
    state = wire.read_json(folder / record.STATE)
    if state is None:
        return "starting", None
    return state["status"], state.get("error")


def tail(folder: Path) -> str:
    """The last lines of its log, as the end of an error."""
    for name in (record.ENGINE_LOG, record.LOG):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            if lines:
                return "\nLast lines of its log:\n" + "\n".join(lines)[-1500:]
    return ""


@contextlib.contextmanager
def claimed(folder: Path) -> Generator[int]:
    """The lock of one deployment; whoever comes second waits."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise StoreError(f"cannot write {folder.parent}: {exc.strerror}; set another home (FINETUNE_HOME)") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
