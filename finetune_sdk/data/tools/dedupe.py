"""Duplicates: exact ones by content, near ones by MinHash candidates that real overlap confirms; and leaks."""

from __future__ import annotations

import heapq
import importlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from finetune_sdk.data.canonical import content_digest, without_source
from finetune_sdk.data.example import Example, Source
from finetune_sdk.data.methods import plain
from finetune_sdk.data.tools.sides import SHORT, Sides, asked_key, shingles
from finetune_sdk.errors import DataError

_PERMUTATIONS, _BANDS = 128, 32  # 4 values a band: 1-(1-s^4)^32 finds 99.99 % at overlap 0.7, 87 % at 0.5
_MOST_CANDIDATES = 50
"""Rows compared with one row, the likeliest of them: rows of one template are candidates of each other."""


class Twin(NamedTuple):
    """A row and the earlier row it repeats. `overlap` is 1.0 for exact duplicates, else Jaccard's index of shingles."""

    row: Source | None
    earlier: Source | None
    overlap: float
    exact: bool = True
    """False: only nearly the same, also where nothing but case and punctuation differ."""


class Dedupe:
    """Tells which rows were seen before. Bounded by 16 bytes (exact) or about the texts' size (near) per kept row."""

    def __init__(self, near: float | None = None, *, by_prompt: bool = False) -> None:
        """`near`: overlap from which two rows count as the same, such as 0.8; None = exact duplicates only.

        Each side of a row must overlap that much: what the system, the user and the assistant say. `by_prompt` leaves
        the answers out.
        """
        if near is not None and not 0.3 <= near <= 1:
            raise DataError(f"near={near:g}: an overlap between 0.3 and 1 is meant, such as 0.8.")
        self._near = _Near(near, by_prompt=by_prompt) if near is not None else None
        self._seen: dict[bytes, Source | None] = {}
        self.counts: Counter[str] = Counter()
        """Rows "kept", "exact" and "near" duplicates."""

    def twin(self, example: Example) -> Twin | None:
        """The earlier row this one repeats; None = it is new, and remembered."""
        digest = digest_of(example)
        if digest in self._seen:
            self.counts["exact"] += 1
            return Twin(example.source, self._seen[digest], 1.0)
        found = self._near.twin(example) if self._near is not None else None
        if found is not None:
            self.counts["near"] += 1
            return found
        self._seen[digest] = example.source
        self.counts["kept"] += 1
        return None

    def kept(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The rows that repeat none before them."""
        return (example for example in examples if self.twin(example) is None)


def digest_of(example: Example) -> bytes:
    """16 bytes that name what the row says, whatever format it was read from."""
    return content_digest(plain(without_source(example)))


_Hashes: TypeAlias = dict[int, Any]
"""What finds a row, by index: of its characters, its words, or both near the border between them."""


class _Near:
    """An index of kept rows by MinHash bands."""

    def __init__(self, threshold: float, *, by_prompt: bool) -> None:
        self._threshold = threshold
        self._by_prompt = by_prompt
        rensa = _rensa()
        self._minhash: Any = rensa.RMinHash
        self._indices: tuple[Any, Any] = (
            rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS),
            rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS),
        )
        """Of short texts by their characters, of long ones by their words."""
        self._rows: list[tuple[Sides, Source | None, _Hashes]] = []
        self._same: dict[bytes, Source | None] = {}
        """Where the first row came from whose sides have this digest."""

    def twin(self, example: Example) -> Twin | None:
        held = Sides.of(example, by_prompt=self._by_prompt)
        hashes = self._hashes(held)
        found = self._found(held, hashes)
        if found is None:
            self._keep(held, hashes, example.source)
            return None
        return found._replace(row=example.source)

    def find(self, example: Example) -> Twin | None:
        """A kept row whose overlap reaches the threshold: the first, or of many candidates one of the likeliest."""
        held = Sides.of(example, by_prompt=self._by_prompt)
        found = self._found(held, self._hashes(held))
        return None if found is None else found._replace(row=example.source)

    def add(self, example: Example) -> None:
        """Keep a row."""
        held = Sides.of(example, by_prompt=self._by_prompt)
        self._keep(held, self._hashes(held), example.source)

    def _keep(self, held: Sides, hashes: _Hashes, source: Source | None) -> None:
        for index, minhash in hashes.items():
            self._indices[index].insert(len(self._rows), minhash)
        self._rows.append((held, source, hashes))
        self._same.setdefault(held.digest(), source)

    def _found(self, held: Sides, hashes: _Hashes) -> Twin | None:
        digest = held.digest()
        if digest in self._same:
            return Twin(None, self._same[digest], 1.0, exact=False)
        for number in self._candidates(hashes):
            other, source, _ = self._rows[number]
            shared = held.overlap(other, self._threshold)
            if shared >= self._threshold:
                return Twin(None, source, shared, exact=False)
        return None

    def _candidates(self, hashes: _Hashes) -> list[int]:
        """Rows to compare with, in their order; where they are too many, those whose hashes are most alike."""
        found = [(index, number) for index, minhash in hashes.items() for number in self._indices[index].query(minhash)]
        numbers = {number for _, number in found}
        if len(numbers) <= _MOST_CANDIDATES:
            return sorted(numbers)
        alike = {number: hashes[index].jaccard(self._rows[number][2][index]) for index, number in found}
        return heapq.nsmallest(_MOST_CANDIDATES, numbers, key=lambda number: (-alike[number], number))

    def _hashes(self, held: Sides) -> _Hashes:
        text = held.text
        found: _Hashes = {}
        for index, wanted in enumerate((len(text) < SHORT / 0.7, len(text) >= SHORT * 0.7)):
            if wanted:
                found[index] = self._minhash(_PERMUTATIONS, 42)
                found[index].update([f"{held.facts}{run}" for run in shingles(text, short=index == 0)])
        return found


def _rensa() -> Any:
    try:
        return importlib.import_module("rensa")
    except ImportError as error:
        raise DataError("Finding near duplicates needs rensa: `pip install 'finetune-sdk[dedupe]'`.") from error


class Leak(NamedTuple):
    """A training row that the held-out data knows already."""

    how: str
    """ "exact", "prompt" (same question, another answer) or "near"."""
    train: Source | None
    held_out: Source | None
    overlap: float


def leaks(train: Iterable[Example], held_out: Iterable[Example], near: float | None = None) -> Iterator[Leak]:
    """Every training row that repeats a held-out one: the evaluation will flatter the model.

    Prompts are the same whatever their case, blanks and punctuation; `near` compares prompts, too.
    """
    exact: dict[bytes, Source | None] = {}
    prompts: dict[int, Source | None] = {}
    index = _Near(near, by_prompt=True) if near is not None else None
    for example in held_out:
        exact.setdefault(digest_of(example), example.source)
        prompts.setdefault(asked_key(example, 0), example.source)
        if index is not None:
            index.add(example)
    for example in train:
        found = _leak(example, exact, prompts)
        twin = index.find(example) if index is not None and found is None else None
        if found is not None:
            yield found
        elif twin is not None:
            yield Leak("near", twin.row, twin.earlier, twin.overlap)


def _leak(example: Example, exact: dict[bytes, Source | None], prompts: dict[int, Source | None]) -> Leak | None:
    digest, prompt = digest_of(example), asked_key(example, 0)
    if digest in exact:
        return Leak("exact", example.source, exact[digest], 1.0)
    if prompt in prompts:
        return Leak("prompt", example.source, prompts[prompt], 1.0)
    return None
