"""Start, stop and continue a worker in a job folder. Everything goes through files; no object has to stay alive.

`start` and `resume` return once the worker's supervisor is detached and on record; from then on the submitter may die.
`cancel` and `pause` ask and return at once; the supervisor sees to it, and kills what does not leave in time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from finetune_sdk.errors import EnvError, JobNotFound, ProviderError, StoreError
from finetune_sdk.worker import launchers, surroundings, wire
from finetune_sdk.worker.liveness import Process
from finetune_sdk.worker.state import artifacts, events, poll, result, started

__all__ = ["artifacts", "cancel", "events", "pause", "poll", "result", "resume", "start", "started"]

_START_TIMEOUT_S = 120.0
_LEAVING_S = 5.0
_LOOKING_S = 2.0  # who only looks whether the job is being started holds the lock for a moment, too
_ENDED = ("succeeded", "failed", "cancelled")


def start(
    job_dir: Path,
    *,
    python: Path,
    worker: Path,
    request: Mapping[str, JsonValue],
    job_id: str,
    env: Mapping[str, str] | None = None,
    processes: int = 1,
    resume: bool = False,
) -> None:
    """Run `worker` (a package folder or a file with `main(ctx)`) detached, with `python`, in `job_dir`.

    `env` is added to a minimal environment and is the only way for secrets: `request` is written to `spec.json`. A job
    that was started before is refused unless `resume`; one that is being started or runs is always refused. Raises
    `ProviderError` for that, `EnvError` when the interpreter cannot run, `StoreError` when the folder is not writable.
    """
    job_dir = job_dir.absolute()  # the worker has a working folder of its own
    spec = {
        "protocol": 1,
        "job_id": job_id,
        "worker": str(worker.absolute()),
        "request": dict(request),
        "python": str(python.absolute()),  # not resolved: the link is what makes a virtual environment
        "processes": processes,
    }
    with _writing(job_dir), _claimed(job_dir) as lock:
        attempt = _next_attempt(job_dir, resume=resume)
        before = result(job_dir)
        if attempt > 1:  # a first attempt has nothing to clear, and may have been cancelled already
            _clear(job_dir)
        wire.write_json(job_dir / wire.SPEC, {**spec, "attempt": attempt})
        try:
            _launch(job_dir, spec, lock, env)
        except EnvError:
            if before is not None:  # the job stands where it stood
                wire.write_json(job_dir / wire.RESULT, before)
            raise


def resume(
    job_dir: Path,
    *,
    python: Path | None = None,
    request: Mapping[str, JsonValue] | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a paused, failed or cancelled job again in the same folder, as the next attempt; events go on.

    `python` and `request` default to those of the attempt before; `env` has to be given again, it was never stored.
    """
    spec = wire.read_json(job_dir / wire.SPEC)
    if spec is None:
        raise JobNotFound(f"no job in {job_dir}", sent=False)
    start(
        job_dir,
        python=python or Path(spec["python"]),
        worker=Path(spec["worker"]),
        request=request if request is not None else spec["request"],
        job_id=spec["job_id"],
        env=env,
        processes=spec.get("processes", 1),
        resume=True,
    )


def cancel(job_dir: Path, *, grace_s: float | None = None) -> None:
    """Ask the worker to leave; after `grace_s` (30 s) it is killed. Idempotent; does nothing to a finished job."""
    _ask(job_dir, wire.CANCEL, grace_s)


def pause(job_dir: Path, *, grace_s: float | None = None) -> None:
    """Ask the worker to save a checkpoint and leave; after `grace_s` (300 s) it is killed and its last one counts."""
    _ask(job_dir, wire.PAUSE, grace_s)


def _ask(job_dir: Path, marker: str, grace_s: float | None) -> None:
    """Marker first, then the signal: a worker killed before its handler is there must not look like a crash."""
    if not started(job_dir):
        raise JobNotFound(f"no worker was ever started in {job_dir}", sent=False)
    process = Process.read(job_dir)
    alive = process is None or process.alive
    paused = marker == wire.CANCEL and (result(job_dir) or {}).get("status") == "paused"
    if (job_dir / marker).exists() or not (alive or paused):
        return
    with _writing(job_dir):
        wire.write_json(job_dir / marker, {} if grace_s is None else {"grace_s": grace_s})
    if process is not None and process.alive:
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            os.kill(process.pid, signal.SIGTERM)


@contextlib.contextmanager
def _writing(job_dir: Path) -> Generator[None]:
    try:
        yield
    except OSError as exc:
        raise StoreError(f"cannot write the job folder {job_dir}: {exc.strerror or exc}") from exc


@contextlib.contextmanager
def _claimed(job_dir: Path) -> Generator[int]:
    """The lock of the folder, or `ProviderError` when another process is just starting this job."""
    job_dir.mkdir(parents=True, exist_ok=True)
    lock = os.open(job_dir / wire.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(lock, job_dir)
        yield lock
    finally:
        os.close(lock)


def _lock(lock: int, job_dir: Path) -> None:
    give_up_s = time.monotonic() + _LOOKING_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > give_up_s:
                text = f"another process is starting the job in {job_dir}; nothing was started here"
                raise ProviderError(text, sent=False) from None
            time.sleep(0.005)
        else:
            return


def _next_attempt(job_dir: Path, *, resume: bool) -> int:
    process = Process.read(job_dir)
    if process is None:
        return 1
    if not resume:
        raise ProviderError(f"the job in {job_dir} was already started; attach to it, or resume it", sent=False)
    leaving_until_s = time.monotonic() + _LEAVING_S  # with its result written, a worker may still be shutting down
    while process.alive and result(job_dir) is not None and time.monotonic() < leaving_until_s:
        time.sleep(0.02)
    if process.alive:
        raise ProviderError(
            f"the job in {job_dir} is still running (pid {process.pid}); cancel or pause it first", sent=False
        )
    if (result(job_dir) or {}).get("status") == "succeeded":
        raise ProviderError(f"the job in {job_dir} has succeeded; there is nothing to resume", sent=False)
    process.sweep()
    return process.attempt + 1


def _clear(job_dir: Path) -> None:
    """Take away what the attempt before said about its end."""
    for name in (wire.CANCEL, wire.PAUSE, wire.STOP, wire.RESULT):
        (job_dir / name).unlink(missing_ok=True)
    for path in job_dir.glob("rank-*.error.json"):
        path.unlink()


def _launch(job_dir: Path, spec: Mapping[str, Any], lock: int, env: Mapping[str, str] | None) -> None:
    python = Path(spec["python"])
    worker = launchers.command(python, job_dir, processes=spec["processes"])
    token = {wire.TOKEN_ENV: secrets.token_hex(16)}
    try:
        done = subprocess.run(
            launchers.supervised(python, job_dir, lock, worker),
            env={**surroundings.minimal(env), **token},
            pass_fds=(lock,),  # keeps the folder claimed even if we are killed now
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError) as exc:
        raise EnvError(f"cannot run the interpreter {python}: {exc.strerror}") from exc
    except subprocess.TimeoutExpired as exc:
        raise EnvError(f"{python} did not start a worker within {_START_TIMEOUT_S:g} s") from exc
    if done.returncode != 0:
        text = done.stderr.decode("utf-8", "replace").strip()
        raise EnvError(f"{python} could not start a worker in {job_dir}: {text[-2000:]}")
