"""Duplicates: exact ones by content, near ones by MinHash candidates that real overlap confirms; and leaks."""

from __future__ import annotations

import importlib
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from finetune_sdk.data.canonical import content_digest, prompt_key, without_source
from finetune_sdk.data.example import Example, Source
from finetune_sdk.data.methods import plain
from finetune_sdk.data.tools.texts import whole_text
from finetune_sdk.errors import DataError

SHINGLE = 5
"""Words per shingle; texts shorter than that are compared by their words."""
_PERMUTATIONS, _BANDS = 128, 32  # 4 values a band: 1-(1-s^4)^32 finds 99.99 % at overlap 0.7, 87 % at 0.5
_WORD = re.compile(r"\w+")


class Twin(NamedTuple):
    """A row and the earlier row it repeats. `overlap` is 1.0 for exact duplicates, else Jaccard's index of shingles."""

    row: Source | None
    earlier: Source | None
    overlap: float


class Dedupe:
    """Tells which rows were seen before. Bounded by 16 bytes (exact) or about 4 bytes a word (near) per kept row."""

    def __init__(self, near: float | None = None) -> None:
        """`near`: overlap from which two texts count as the same, such as 0.8; None = exact duplicates only."""
        if near is not None and not 0.3 <= near <= 1:
            raise DataError(f"near={near:g}: an overlap between 0.3 and 1 is meant, such as 0.8.")
        self._near = _Near(near) if near is not None else None
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


def shingles(text: str) -> frozenset[int]:
    """Hashes of all runs of `SHINGLE` words, case folded."""
    words = _WORD.findall(text.casefold())
    if len(words) < SHINGLE:
        return frozenset(zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words)
    runs = (" ".join(words[index : index + SHINGLE]) for index in range(len(words) - SHINGLE + 1))
    return frozenset(zlib.crc32(run.encode("utf-8", "surrogatepass")) for run in runs)


def overlap(first: frozenset[int], second: frozenset[int]) -> float:
    """Jaccard's index; 1 for two texts without words."""
    if not first and not second:
        return 1.0
    both = len(first & second)
    return both / (len(first) + len(second) - both)


class _Near:
    """An index of kept rows by MinHash bands."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        rensa = _rensa()
        self._minhash: Any = rensa.RMinHash
        self._index: Any = rensa.RMinHashLSH(threshold, _PERMUTATIONS, _BANDS)
        self._rows: list[tuple[array[int], Source | None]] = []

    def twin(self, example: Example) -> Twin | None:
        found = self.find(example)
        if found is None:
            self.add(example)
        return found

    def find(self, example: Example) -> Twin | None:
        """The first kept row whose overlap reaches the threshold."""
        held = shingles(whole_text(example))
        candidates: list[int] = self._index.query(self._hash(held))
        for number in sorted(candidates):
            other, source = self._rows[number]
            shared = overlap(held, frozenset(other))
            if shared >= self._threshold:
                return Twin(example.source, source, shared)
        return None

    def add(self, example: Example) -> None:
        """Keep a row."""
        held = shingles(whole_text(example))
        self._index.insert(len(self._rows), self._hash(held))
        self._rows.append((array("L", sorted(held)), example.source))

    def _hash(self, held: frozenset[int]) -> Any:
        minhash = self._minhash(_PERMUTATIONS, 42)
        minhash.update([value.to_bytes(4, "big") for value in sorted(held)])
        return minhash


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
    """Every training row that repeats a held-out one: the evaluation will flatter the model."""
    exact: dict[bytes, Source | None] = {}
    prompts: dict[int, Source | None] = {}
    index = _Near(near) if near is not None else None
    for example in held_out:
        exact.setdefault(digest_of(example), example.source)
        prompts.setdefault(prompt_key(example, 0), example.source)
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
    digest, prompt = digest_of(example), prompt_key(example, 0)
    if digest in exact:
        return Leak("exact", example.source, exact[digest], 1.0)
    if prompt in prompts:
        return Leak("prompt", example.source, prompts[prompt], 1.0)
    return None
