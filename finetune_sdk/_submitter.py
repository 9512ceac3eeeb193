"""Who submits a job: enough about a process to say later, from another one, whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path


def this_process() -> str:
    """This process, for `alive`: boot id, pid, start tick; so no reused pid and no reboot is mistaken for it."""
    return f"{_boot_id()}:{os.getpid()}:{_start_tick(os.getpid())}"


def alive(process: str | None) -> bool:
    """True only when that very process runs on this machine now; unknown (another machine, no /proc) is False."""
    if not process:
        return False
    boot_id, pid, start_tick = process.rsplit(":", 2)
    return boot_id == _boot_id() != "" and start_tick == _start_tick(int(pid)) != ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return ""


def _start_tick(pid: int) -> str:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, tick = after_name[0], after_name[19]  # fields 3 and 22 of proc(5)
    return "" if state in "ZX" else tick
