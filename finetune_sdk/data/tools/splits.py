"""Splitting into named parts by content: stable under row order, equal units on one side, stratified, grouped.

Rows are ranked by a hash of the seed and their unit (what the row asks, unless a key groups them). `exact` takes the
lowest ranks until each part has its size; otherwise the hash alone decides, so that adding rows moves no row.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from finetune_sdk.data.canonical import content_key
from finetune_sdk.data.example import Example, LabelledExample
from finetune_sdk.data.jsonvalue import as_object
from finetune_sdk.data.tools.sides import asked_key
from finetune_sdk.errors import DataError

_SPACE = 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What may not be divided, and within what shares are kept."""

    seed: int = 42
    group_by: str | None = None
    """A key of the row (dots go deeper) whose equal values stay together; None = rows that ask the same,
    whatever case, blanks and punctuation they ask it with."""
    stratify_by: str | None = None
    """A key of the row within whose values shares are kept; None = the label of labelled rows."""
    by_content: bool = False
    """Let the whole content decide instead of what is asked: for data whose rows all share one prompt."""

    def unit(self, example: Example) -> int:
        """The unit's hash."""
        if self.group_by is not None:
            return _hash(self.seed, field(example, self.group_by))
        return content_key(example, self.seed) if self.by_content else asked_key(example, self.seed)

    def stratum(self, example: Example) -> str:
        """The name of the stratum."""
        if self.stratify_by is not None:
            return repr(field(example, self.stratify_by))
        if isinstance(example, LabelledExample) and not isinstance(example.label, float):
            return repr(example.label)
        return ""


def field(example: Example, key: str) -> object:
    """The value of a row's key: `label`, `text`, or a key kept in `extra`. Raises `DataError` when there is none."""
    head, *deeper = key.split(".")
    value: object = example.extra.get(head, getattr(example, head, None))
    for name in deeper:
        value = (as_object(value) or {}).get(name)
    if value is None:
        place = f"{example.source.file}:{example.source.line}: " if example.source else ""
        if not deeper and head in example.extra:
            raise DataError(f"{place}{key!r} is null: to split by it every row needs a value.")
        known = ", ".join(example.extra) or "no further keys"
        raise DataError(f"{place}no key {key!r} to split by. The row has: {known}.")
    return value


def _hash(seed: int, value: object) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{value!r}".encode(), digest_size=8).digest(), "big")


class Split:
    """Says to which part a row belongs. Built by `plan`, which reads all rows once, or `by_hash`, which reads none."""

    def __init__(self, units: Units, parts: tuple[str, ...], limits: Mapping[str, tuple[int, ...]]) -> None:
        self.parts = parts
        self._units = units
        self._limits = limits
        self._of_unit: dict[int, str] = {}
        self.rows: dict[str, int] = {}
        """Rows of each part, where all rows were looked at."""

    def part(self, example: Example) -> str:
        """The row's part."""
        unit = self._units.unit(example)
        limits = self._limits.get(self._of_unit.get(unit, self._units.stratum(example)))
        for part, limit in zip(self.parts, limits or self._limits.get("", ()), strict=False):
            if unit < limit:
                return part
        return self.parts[-1]

    @classmethod
    def by_hash(cls, parts: Mapping[str, float], units: Units) -> Split:
        """Every part gets about its share; a row's part depends on nothing but the row.

        Raises `DataError` for a number of rows, which only a look at all rows could keep.
        """
        _verify(parts)
        counted = next((f"{name}={size:g}" for name, size in parts.items() if size >= 1), None)
        if counted is not None and len(parts) > 1:
            raise DataError(f"a stable split takes shares below 1, not a number of rows such as {counted}.")
        total = sum(parts.values())
        edges: list[int] = []
        taken = 0.0
        for share in parts.values():
            taken += share / total
            edges.append(int(taken * _SPACE))
        return cls(units, tuple(parts), {"": tuple(edges)})

    @classmethod
    def plan(cls, examples: Iterable[Example], parts: Mapping[str, float], units: Units) -> Split:
        """Sizes as asked, except that units stay whole. A size below 1 is a share, from 1 on a number of rows.

        Raises `DataError` when there are not enough rows.
        """
        keys, strata, of_unit = _gather(examples, units)
        rows = len(keys)
        wanted = _sizes(parts, rows)
        by_stratum: dict[str, array[int]] = {}
        for key, stratum in zip(keys, strata, strict=True):
            held = by_stratum.setdefault(stratum, array("Q"))
            held.append(key)
        limits, taken = _all_limits(by_stratum, wanted)
        split = cls(units, tuple(parts), limits)
        split._of_unit = of_unit
        split.rows = dict(zip(parts, taken, strict=True))
        return split


def _gather(examples: Iterable[Example], units: Units) -> tuple[array[int], list[str], dict[int, str]]:
    keys: array[int] = array("Q")
    strata: list[str] = []
    of_unit: dict[int, str] = {}
    names: dict[str, str] = {}
    for example in examples:
        key, stratum = units.unit(example), units.stratum(example)
        if stratum:  # a unit whose rows lie in several strata counts in that of its first row
            stratum = of_unit.setdefault(key, names.setdefault(stratum, stratum))
        keys.append(key)
        strata.append(stratum)
    return keys, strata, of_unit


def _verify(parts: Mapping[str, float]) -> None:
    for name, size in parts.items():
        if not math.isfinite(size) or (size > 1 and size % 1):
            what = f"{name}={size:g} is neither a share below 1 nor a whole number of rows"
            raise DataError(f"{what}. Write one of them, such as {name}=0.1 or {name}=100.")


def _sizes(parts: Mapping[str, float], rows: int) -> list[int]:
    """Rows per part. Beside counts a share is one of all rows, and "train" (else the largest share) takes the rest."""
    _verify(parts)
    if len(parts) < 2 or any(size <= 0 for size in parts.values()):
        raise DataError("a split needs at least two parts, each above 0, such as train=0.9 validation=0.1.")
    counts = {name: int(size) for name, size in parts.items() if size >= 1}
    shares = {name: size for name, size in parts.items() if size < 1}
    left = rows - sum(counts.values())
    if not shares and left > 0:
        raise DataError(
            f"{rows - left} rows are asked for, there are {rows}: give one part a share instead of a count."
        )
    if left < len(shares):
        raise DataError(f"{_asked_for(parts, rows)}: {_none_left(counts, shares)}.")
    whole = 1.0 if counts else sum(shares.values())
    found = counts | {name: int(share / whole * rows + 0.5) for name, share in shares.items()}
    if shares:
        takes_rest = "train" if "train" in shares else max(shares, key=lambda name: shares[name])
        found[takes_rest] += rows - sum(found.values())
        if found[takes_rest] < 0:
            raise DataError(f"{_asked_for(parts, rows)}: none is left for {takes_rest}.")
    return [found[name] for name in parts]


def _asked_for(parts: Mapping[str, float], rows: int) -> str:
    asked = ", ".join(f"{name}={size:g}" for name, size in parts.items())
    return f"asked for are {asked}, and there {'is' if rows == 1 else 'are'} {rows} row{'' if rows == 1 else 's'}"


def _none_left(counts: Mapping[str, int], shares: Mapping[str, float]) -> str:
    return f"none is left for {', '.join(shares)}" if counts else "each part needs one at least"


def _all_limits(
    by_stratum: Mapping[str, array[int]], wanted: list[int]
) -> tuple[dict[str, tuple[int, ...]], list[int]]:
    """The bounds within each stratum, and the rows that the parts get: what one gives too much, the next gives less."""
    rows = sum(map(len, by_stratum.values()))
    found: dict[str, tuple[int, ...]] = {}
    carried, taken = [0.0] * len(wanted), [0] * len(wanted)
    for name in sorted(by_stratum):
        ordered = sorted(by_stratum[name])
        ideal = [len(ordered) * part / rows + extra for part, extra in zip(wanted, carried, strict=True)]
        found[name] = _limits(ordered, _whole(ideal, len(ordered)))
        given = _between(ordered, found[name])
        carried = [want - got for want, got in zip(ideal, given, strict=True)]
        taken = [before + got for before, got in zip(taken, given, strict=True)]
    return found, taken


def _between(ordered: list[int], limits: tuple[int, ...]) -> list[int]:
    """How many keys lie below each limit, and not below the one before."""
    ends = [bisect_left(ordered, limit) for limit in limits]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def _whole(ideal: list[float], size: int) -> list[int]:
    """Whole numbers near the ideals that add up to `size`; none below 0."""
    given = [max(int(value), 0) for value in ideal]
    order = sorted(range(len(ideal)), key=lambda index: given[index] - ideal[index])
    for index in order * (size + 1):
        if sum(given) >= size:
            break
        given[index] += 1
    for index in reversed(order):
        over = sum(given) - size
        given[index] -= min(max(over, 0), given[index])
    return given


def _limits(ordered: list[int], quota: list[int]) -> tuple[int, ...]:
    """Exclusive upper bounds; the border moves to the nearest place between two units."""
    limits: list[int] = []
    taken = 0
    for count in quota:
        taken += count
        limits.append(_border(ordered, taken))
    return tuple(limits)


def _border(ordered: list[int], at: int) -> int:
    if at >= len(ordered):
        return _SPACE
    if at <= 0:
        return 0
    key = ordered[at]
    if ordered[at - 1] != key:
        return key
    first, last = ordered.index(key), len(ordered) - ordered[::-1].index(key)
    return key if at - first <= last - at else key + 1
