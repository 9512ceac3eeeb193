"""What a local candidate takes of this machine while it answers: memory and energy, where the kernel tells them."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/sys/class/powercap")
_PROC = Path("/proc")
_PACKAGE = re.compile(r"intel-rapl:\d+$")  # AMD's processors are under this name too; cores and memory are parts of it
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB", re.MULTILINE)


def peak_memory(pid: int) -> int | None:
    """The most bytes of memory that a process has held so far. None = it is gone, or the system does not say."""
    try:
        found = _PEAK.search((_PROC / str(pid) / "status").read_text(encoding="utf-8"))
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


class Energy:
    """Joules of this machine's processors since it was made, whoever used them (RAPL)."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._root = root
        self._begun = self._read()

    def joules(self) -> float | None:
        """None = the kernel does not let us read it: not measured, which is not 0."""
        now = self._read()
        if not self._begun or now.keys() != self._begun.keys():
            return None
        return sum(_gone(before, now[name]) for name, before in self._begun.items()) / 1e6

    def _read(self) -> dict[str, tuple[int, int]]:
        """(microjoules, where the counter starts again) by package. Empty when one of them cannot be read."""
        found: dict[str, tuple[int, int]] = {}
        try:
            for folder in self._root.iterdir():
                if _PACKAGE.search(folder.name):
                    numbers = (int((folder / name).read_text()) for name in ("energy_uj", "max_energy_range_uj"))
                    found[folder.name] = (next(numbers), next(numbers))
        except (OSError, ValueError):
            return {}
        return found


def _gone(before: tuple[int, int], now: tuple[int, int]) -> int:
    """Microjoules between two readings of a counter that started again at most once."""
    return now[0] - before[0] if now[0] >= before[0] else now[0] + before[1] - before[0]
