# pyright: basic
"""Several short samples in one sequence, kept apart by positions that start again: no padding, no leak between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .rows import Sample

_OPEN = 64  # sequences kept open at once: enough to fill them well, little memory


def pack(samples: Iterable[Sample], length: int) -> Iterator[Sample]:
    """Best fit: each sample goes where it leaves the least room."""
    open_: list[list[Sample]] = []
    room: list[int] = []
    for sample in samples:
        fits = [i for i, free in enumerate(room) if free >= len(sample.ids)]
        if fits:
            best = min(fits, key=lambda i: room[i])
            open_[best].append(sample)
            room[best] -= len(sample.ids)
        else:
            open_.append([sample])
            room.append(length - len(sample.ids))
        if len(open_) > _OPEN:
            fullest = min(range(len(room)), key=lambda i: room[i])
            room.pop(fullest)
            yield _joined(open_.pop(fullest))
    for group in open_:
        yield _joined(group)


def _joined(group: list[Sample]) -> Sample:
    ids = [token for sample in group for token in sample.ids]
    weights = [weight for sample in group for weight in sample.weights]
    starts = [position for sample in group for position in range(len(sample.ids))]
    return Sample(ids, weights, starts)
