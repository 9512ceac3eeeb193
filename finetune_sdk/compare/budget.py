"""The cap on money and time: what may still be spent is set aside before anything is sent, so it is never exceeded."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from finetune_sdk.compare.bench import Limits
from finetune_sdk.errors import BudgetExceeded

_STOPPING_S = 20.0  # what runs by the hour is told to stop this long before the money is up: stopping takes time too
_SAVED_S = 5.0  # how old the file may be while something is under way


class _Spent(msgspec.Struct):
    """The file `spent.json`."""

    usd: dict[str, float | None] = {}
    """By thing. Of things under way it is what was set aside for them."""
    hours: float = 0.0
    flying: dict[str, float] = {}
    """By thing under way: what a kill may lose sight of, since it was sent and never read."""


class Budget:
    """What a comparison has spent, on disk: a run that was killed and goes on does not start from nothing."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path, self._limits = path, limits
        self._lock = threading.RLock()
        self._begun = self._saved = time.monotonic()
        told = msgspec.json.decode(path.read_bytes(), type=_Spent) if path.exists() else _Spent()
        self._spent = told.usd
        self._before_s = told.hours * 3600
        self._rates: dict[str, tuple[float, float]] = {}  # USD an hour, and since when
        self._flying = told.flying

    @property
    def cap(self) -> float | None:
        """USD; None = no limit."""
        return self._limits.max_cost_usd

    @property
    def spent_usd(self) -> float:
        """The known part of what was spent or is set aside, with what runs by the hour up to now."""
        with self._lock:
            now = time.monotonic()
            running = sum(rate * (now - since) / 3600 for rate, since in self._rates.values())
            return running + sum(amount or 0.0 for amount in self._spent.values())

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
        """Seconds until the time is over, or the money at what runs by the hour. None = no limit."""
        found: list[float] = []
        if self._limits.max_hours is not None:
            found.append(self._limits.max_hours * 3600 - self.took_s)
        with self._lock:
            rate = sum(rate for rate, _ in self._rates.values())
            if self.cap is not None and rate > 0:
                found.append((self.cap - self.spent_usd) / rate * 3600 - _STOPPING_S)
        return min(found, default=None)

    @property
    def out_of_time(self) -> bool:
        """Nothing may go on: the time is over, or the money at what runs by the hour."""
        return self.left_s is not None and self.left_s <= 0

    @property
    def over_text(self) -> str:
        hours = self._limits.max_hours
        if hours is not None and self.took_s >= hours * 3600:
            return f"the {hours:g} hours of the comparison are over"
        if self.cap is not None and self._rates:
            return f"at what runs by the hour the {self.cap:g} USD of the comparison are up"
        return f"the {hours:g} hours of the comparison are over"

    def affords(self, name: str, usd: float | None, *, what: str) -> None:
        """Raise `BudgetExceeded` when this may not be begun."""
        if self.out_of_time:
            raise BudgetExceeded(f"{what} of {name} was not begun: {self.over_text}")
        if self.cap is None:
            return
        if usd is None:
            raise BudgetExceeded(
                f"{what} of {name} was not begun: its price is unknown, and max_cost_usd is {self.cap:g}; give its "
                "`prices`"
            )
        spent = self.spent_usd
        if spent + usd > self.cap:
            raise BudgetExceeded(
                f"{what} of {name} was not begun: it costs up to {_usd(usd)} USD, and {_usd(self.cap - spent)} of "
                f"{self.cap:g} are left"
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

    @contextmanager
    def by_the_hour(self, name: str, usd_per_hour: float | None, *, what: str, since_s: float = 0.0) -> Generator[None]:
        """Count the hours of the block, and `since_s` seconds before it, as spent while they pass. None = free.

        Raises `BudgetExceeded` when not even the stopping of it could be paid for.
        """
        if not usd_per_hour:
            yield
            return
        key = f"{name}: {what}"
        with self._lock:
            before = self._spent.pop(key, None) or 0.0
            self._rates[key] = usd_per_hour, time.monotonic() - max(since_s, before / usd_per_hour * 3600)
        try:
            if self.out_of_time:
                raise BudgetExceeded(f"{what} of {name} was not begun: {self.over_text}")
            yield
        finally:
            with self._lock:
                rate, since = self._rates.pop(key)
                self._spent[key] = rate * (time.monotonic() - since) / 3600
                self._write()

    def set_aside(self, key: str, usd: float | None, *, flying: float | None = None) -> None:
        """What a thing under way has cost and may yet cost; on disk at once if `flying` is given (see the file)."""
        with self._lock:
            self._spent[key] = usd
            if flying is not None:
                self._flying[key] = flying
                self._write()
            elif time.monotonic() - self._saved > _SAVED_S:
                self._write()

    def settle(self, key: str, usd: float | None) -> None:
        """Replace what was set aside by what it came to; on disk."""
        with self._lock:
            self._spent[key] = usd
            self._flying.pop(key, None)
            self._write()

    def of(self, key: str) -> float:
        """What a thing has cost so far, as far as it is known."""
        return self._spent.get(key) or 0.0

    def lost(self, key: str) -> float:
        """What may have been sent for this thing, and paid, when a run was killed. Asked once: it is settled then."""
        with self._lock:
            return self._flying.pop(key, 0.0)

    def may(self, key: str, usd: float) -> bool:
        """Whether the thing may cost this much in all."""
        with self._lock:
            others = self.spent_usd - self.of(key)
            return self.cap is None or others + usd <= self.cap

    def save(self) -> None:
        """Write down the time."""
        with self._lock:
            self._write()

    def keep(self) -> None:
        """Write down the time now and then: what a kill forgets is a few seconds."""
        if time.monotonic() - self._saved > _SAVED_S:
            self.save()

    def _write(self) -> None:
        now = time.monotonic()
        running = {key: rate * (now - since) / 3600 for key, (rate, since) in self._rates.items()}
        told = _Spent(usd={**self._spent, **running}, hours=self.took_s / 3600, flying=self._flying)
        part = self._path.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(told))
        part.replace(self._path)
        self._saved = now


def _usd(amount: float) -> str:
    return f"{amount:.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
