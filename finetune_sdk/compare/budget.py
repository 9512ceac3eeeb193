"""The cap on money and time: what may still be spent is reserved before anything is sent, so it is never exceeded."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from finetune_sdk.compare.bench import Limits
from finetune_sdk.errors import BudgetExceeded


class _Spent(msgspec.Struct):
    """The file `spent.json`."""

    usd: dict[str, float | None] = {}
    hours: float = 0.0


class Budget:
    """What a comparison has spent, on disk: a run that was killed and goes on does not start from nothing."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        told = msgspec.json.decode(path.read_bytes(), type=_Spent) if path.exists() else _Spent()
        self._spent = told.usd
        self._before_s = told.hours * 3600

    @property
    def spent_usd(self) -> float:
        """The known part of what was reserved."""
        return sum(amount or 0.0 for amount in self._spent.values())

    @property
    def unknown(self) -> bool:
        """Whether something was done whose price nobody knows."""
        return any(amount is None for amount in self._spent.values())

    @property
    def took_s(self) -> float:
        """Wall-clock seconds of all runs so far."""
        return self._before_s + time.monotonic() - self._begun

    @property
    def left_s(self) -> float | None:
        """None = no limit."""
        return None if self._limits.max_hours is None else self._limits.max_hours * 3600 - self.took_s

    @property
    def out_of_time(self) -> bool:
        return self.left_s is not None and self.left_s <= 0

    @property
    def over_text(self) -> str:
        return f"the {self._limits.max_hours:g} hours of the comparison are over"

    def affords(self, name: str, usd: float | None, *, what: str) -> None:
        """Raise `BudgetExceeded` when this may not be begun."""
        if self.out_of_time:
            raise BudgetExceeded(f"{what} of {name} was not begun: {self.over_text}")
        cap = self._limits.max_cost_usd
        if cap is None:
            return
        if usd is None:
            raise BudgetExceeded(
                f"{what} of {name} was not begun: its price is unknown, and max_cost_usd is {cap:g}; give its `prices`"
            )
        if self.spent_usd + usd > cap:
            raise BudgetExceeded(
                f"{what} of {name} was not begun: it costs up to {usd:.2f} USD, and {cap - self.spent_usd:.2f} of "
                f"{cap:g} are left"
            )

    @contextmanager
    def reserved(self, name: str, usd: float | None, *, what: str) -> Generator[None]:
        """Set the amount aside, on disk before the block runs. It counts as spent, whatever becomes of the block.

        The same thing is set aside once, however often it is begun again. Raises `BudgetExceeded`.
        """
        key = f"{name}: {what}"
        with self._lock:
            if key not in self._spent:
                self.affords(name, usd, what=what)
            self._spent[key] = usd
            self._write()
        yield

    def settle(self, name: str, usd: float | None, *, what: str) -> None:
        """Replace what was set aside by what it came to."""
        with self._lock:
            self._spent[f"{name}: {what}"] = usd
            self._write()

    def save(self) -> None:
        """Write down the time."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(_Spent(usd=self._spent, hours=self.took_s / 3600)))
        part.replace(self._path)
