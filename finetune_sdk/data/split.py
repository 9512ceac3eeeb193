"""Holding rows out, decided by content: stable under row order, equal prompts on one side, stratified for labels."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from finetune_sdk.data.rows import DIGEST_BYTES, Row


@dataclass(frozen=True, slots=True)
class Split:
    """Which side a row falls on. Within a group, rows up to the first limit go to the first role, and so on."""

    seed: int
    roles: tuple[str, ...]
    by_prompt: bool
    """False where most rows share one prompt: then the whole content decides."""
    limits: Mapping[str, tuple[int, ...]]
    """Per group, ascending: one limit per role."""

    def role(self, row: Row) -> str:
        """The held-out role of this row, or "train"."""
        key = row.prompt_key(self.seed) if self.by_prompt else _content_key(row.digest, _salt(self.seed))
        return self.role_of_key(row.group, key)

    def role_of_key(self, group: str, key: int) -> str:
        """The same, from what `role` derives from a row."""
        for role, limit in zip(self.roles, self.limits.get(group, ()), strict=False):
            if key <= limit:
                return role
        return "train"


def _salt(seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "big")


def _content_key(digest: bytes, salt: int) -> int:
    return int.from_bytes(digest[:8], "big") ^ salt


class Keys:
    """What a split needs to know of all rows, gathered in one pass: 28 bytes a row."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._groups: dict[str, int] = {}
        self._group = array("L")
        self._prompt = array("Q")
        self._digests = bytearray()

    def add(self, row: Row) -> None:
        """Remember a row."""
        self._group.append(self._groups.setdefault(row.group, len(self._groups)))
        self._prompt.append(row.prompt_key(self._seed))
        self._digests += row.digest

    def __len__(self) -> int:
        return len(self._group)

    def digest(self, index: int) -> bytes:
        """The digest of a row."""
        return bytes(self._digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES])

    def split(self, shares: Mapping[str, float]) -> Split:
        """The split for these shares: exact counts, except that rows with equal prompts stay together."""
        roles, wanted = tuple(shares), tuple(shares.values())
        by_group = self._grouped(self._prompt)
        limits = {group: _limits(keys, wanted) for group, keys in by_group.items()}
        by_prompt = all(_fair(keys, limits[group], wanted) for group, keys in by_group.items())
        if not by_prompt:
            by_group = self._grouped(self._content_keys())
            limits = {group: _limits(keys, wanted) for group, keys in by_group.items()}
        return Split(self._seed, roles, by_prompt, limits)

    def roles(self, split: Split) -> Iterator[tuple[str, bytes]]:
        """The role and the digest of every row, in order."""
        names = list(self._groups)
        keys = self._prompt if split.by_prompt else self._content_keys()
        for index, key in enumerate(keys):
            yield split.role_of_key(names[self._group[index]], key), self.digest(index)

    def _content_keys(self) -> array[int]:
        salt = _salt(self._seed)
        return array("Q", (_content_key(self.digest(index), salt) for index in range(len(self))))

    def _grouped(self, keys: array[int]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {group: [] for group in self._groups}
        names = list(self._groups)
        for index, key in enumerate(keys):
            found[names[self._group[index]]].append(key)
        for group in found.values():
            group.sort()
        return found


def _limits(ordered: list[int], shares: tuple[float, ...]) -> tuple[int, ...]:
    limits: list[int] = []
    taken = 0
    for share in shares:
        taken += _count(len(ordered), share)
        limits.append(ordered[min(taken, len(ordered)) - 1] if taken else -1)
    return tuple(limits)


def _count(rows: int, share: float) -> int:
    """Rows to hold out: the nearest whole number, which may be none."""
    return int(rows * share + 0.5)


def _fair(ordered: list[int], limits: tuple[int, ...], shares: tuple[float, ...]) -> bool:
    """Whether keeping equal prompts together still gives about the share that was asked for."""
    taken = sum(1 for key in ordered if key <= limits[-1])
    wanted = sum(_count(len(ordered), share) for share in shares)
    return taken <= max(2 * wanted, wanted + 2) and (taken < len(ordered) or wanted >= len(ordered))
