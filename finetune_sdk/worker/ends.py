"""How processes are told apart, how they end, and why: Linux's /proc, signals, and a worker's last words.

Standard library only: `supervisor.py` loads this file by path, the SDK imports it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_NO_SPACE = re.compile(r"No space left on device|Disk quota exceeded")
_LAUNCHER_SAW = re.compile(r"Signal \d+ \((SIG\w+)\) received by PID")  # torchrun's words about a rank
_FULL_BYTES = 64 * 1024


def boot_id() -> str:
    """Differs after every boot of the machine."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on (state, ppid, ...); None when there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_ticks(pid: int) -> int | None:
    """When the kernel started the process, in clock ticks after boot; None for a process that is gone or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else int(fields[19])


def has_token(pid: int, marker: bytes) -> bool | None:
    """Whether the process was started with this `NAME=value` in its environment; None = it cannot be read."""
    try:
        environ = (_PROC / str(pid) / "environ").read_bytes()
        return marker in environ.split(b"\0") if environ else None  # empty: it is just exiting
    except PermissionError:
        return None
    except (FileNotFoundError, ProcessLookupError):
        return False


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def with_token(marker: bytes) -> Iterator[int]:
    """Every living process of ours that carries the token."""
    for pid in _pids():
        if pid != os.getpid() and start_ticks(pid) is not None and has_token(pid, marker):
            yield pid


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def descendants() -> set[int]:
    """Children of this process and theirs. A subreaper's set is complete: orphans come back to it."""
    parents = {pid: int(fields[1]) for pid in _pids() if (fields := _stat(pid)) is not None and fields[0] != "Z"}
    found: set[int] = set()
    layer = {os.getpid()}
    while layer:
        layer = {pid for pid, parent in parents.items() if parent in layer} - found
        found |= layer
    return found


def kill_descendants(*, patience_s: float = 10.0) -> None:
    """Leave none of them alive. Repeated, because a process may fork while it is being looked at.

    Nobody is reaped here: the exit status of the worker belongs to whoever started it.
    """
    give_up_s = time.monotonic() + patience_s  # one that hangs in the kernel dies when the kernel lets go of it
    while (alive := descendants()) and time.monotonic() < give_up_s:
        for pid in alive:
            kill(pid)
        time.sleep(0.005)


def reap_others(worker_pid: int) -> None:
    """Reap orphans that came back to this subreaper, but never the worker itself."""
    with contextlib.suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and dead.si_pid != worker_pid:
            os.waitpid(dead.si_pid, 0)


def oom_kills() -> int:
    """How often the kernel has killed for want of memory, on this machine; 0 where it does not say."""
    with contextlib.suppress(OSError):
        counts = dict(line.split() for line in (_PROC / "vmstat").read_text().splitlines())
        return int(counts.get("oom_kill", 0))
    return 0


def how(code: int | None, *, oom_killed: bool = False, who: str = "the worker") -> str:
    """A wait status in words: the signal's name, what it usually means, or the exit code."""
    if code is None:
        return "the worker and its supervisor were killed (SIGKILL: by hand, or because memory ran out)"
    number = -code if code < 0 else code - 128 if code > 128 else 0
    name = signal.Signals(number).name if number in set(signal.Signals) else ""
    if not name:
        return f"{who} exited with code {code} before writing a result"
    shown = f"{who} was killed by {name}" if code < 0 else f"{who} exited with {code} (killed by {name})"
    if number != signal.SIGKILL:
        return shown
    if oom_killed:
        return f"{shown}: out of memory (the kernel's OOM killer). Lower batch_size or max_seq_length"
    return f"{shown}: most often out of memory (then lower batch_size or max_seq_length), or `kill -9` by hand"


def explain(job_dir: Path, *, code: int | None, oom_killed: bool, log_offset: int, wire: Any) -> dict[str, Any]:
    """The result of a worker that wrote none (or that a failed rank overtook): a named cause, and the log's tail."""
    end: dict[str, Any] = {
        "status": "failed",
        "error": None,
        "model": None,
        "metrics": {},
        "usage": {},
        "artifacts": [],
    }
    if (job_dir / wire.CANCEL).exists():
        return end | {"status": "cancelled"}
    if (job_dir / wire.PAUSE).exists():
        return end | {"status": "paused"}
    tail = wire.log_tail(job_dir, offset=log_offset)
    stop = wire.read_field(job_dir / wire.STOP, "reason")
    cause = stop or _disk(job_dir, tail) or _ranks(job_dir, wire) or _rank_killed(tail, code, oom_killed=oom_killed)
    cause = cause or how(code, oom_killed=oom_killed)
    return end | {"error": f"{cause}\nLast lines of {wire.LOG}:\n{tail}" if tail else f"{cause} ({wire.LOG} is empty)"}


def _disk(job_dir: Path, tail: str) -> str | None:
    if found := _NO_SPACE.search(tail):
        return f"{found.group(0)}: the worker could not write. Free some space, then resume"
    if shutil.disk_usage(job_dir).free < _FULL_BYTES:
        return f"No space left on device: the disk of {job_dir} is full. Free some space, then resume"
    return None


def _ranks(job_dir: Path, wire: Any) -> str | None:
    for path in sorted(job_dir.glob(wire.rank_error(0).replace("0", "*"))):
        error = wire.read_field(path, "error")
        if error:
            return f"{path.name.partition('.')[0].replace('-', ' ')}: {error}"
    return None


def _rank_killed(tail: str, code: int | None, *, oom_killed: bool) -> str | None:
    """torchrun exits with 1 whatever killed a rank; it prints the root cause last."""
    seen = _LAUNCHER_SAW.findall(tail) if code == 1 else []
    return how(-signal.Signals[seen[-1]], oom_killed=oom_killed, who="a process of the worker") if seen else None
