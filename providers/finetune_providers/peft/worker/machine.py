"""What the machine offers, read without torch: cores, memory, bfloat16 in hardware. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

_CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
_CGROUP_USED = Path("/sys/fs/cgroup/memory.current")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's


def cores() -> int:
    """Cores this process may use: its affinity mask, cut by the container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP_CPU).partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed


def idle_cores() -> int:
    """Cores nobody else keeps busy, at least one: a thread that must share its core makes all the others wait."""
    return max(1, min(cores(), round(cores() - os.getloadavg()[0])))


def threads(compute: dict[str, Any], processes: int) -> int:
    """CPU threads per process: as asked, else the idle cores shared out among the processes."""
    return compute["threads"] if compute["threads"] != "auto" else max(1, idle_cores() // processes)


def native_bf16() -> bool:
    """True when the CPU multiplies bfloat16 in hardware; elsewhere bfloat16 is emulated and slower than fp32."""
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith(("flags", "Features")):
            return bool(_BF16_FLAGS & set(line.split()))
    return False


def free_memory() -> int | None:
    """Bytes of main memory that can still be used, None where the system does not say."""
    free: int | None = None
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = _read(_CGROUP_MEMORY).strip(), _read(_CGROUP_USED).strip()
    if limit.isdigit() and used.isdigit():
        left = int(limit) - int(used)
        free = left if free is None else min(free, left)
    return free


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
