# pyright: basic
"""The last prompts that were read, so that the beginning which a new one shares with them is not read again.

A conversation that goes on, examples before every question, several answers to one prompt: their beginnings are equal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_KEPT = 16
_LEAST = 8  # tokens worth remembering


@dataclass(frozen=True, eq=False)
class Known:
    """A prompt that was read."""

    tokens: np.ndarray
    layers: list[tuple[Any, Any]]
    """Keys and values, [heads, tokens, size]."""
    size: int
    """Bytes."""


class Prompts:
    """Of one model; at most `room` bytes of keys and values, the oldest go first."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._known: OrderedDict[bytes, Known] = OrderedDict()

    def longest(self, prompt: Sequence[int]) -> tuple[int, Known | None]:
        """How many of its first tokens were read before, and with which. Its last one never counts: it is to answer."""
        tokens = np.asarray(prompt[:-1])
        best: tuple[int, Known | None] = (0, None)
        for known in self._known.values():
            count = shared(tokens, known.tokens)
            if count > best[0]:
                best = count, known
        if best[1] is not None:
            self._known.move_to_end(best[1].tokens.tobytes())
        return best

    def note(self, prompt: Sequence[int], layers: Sequence[Any], row: int) -> None:
        """Keep a copy: the prompt's keys and values are the last columns of the row."""
        tokens, size = np.asarray(prompt), len(prompt)
        weight = sum(one[row, :, -size:].nbytes for layer in layers for one in (layer.keys, layer.values))
        name = tokens.tobytes()
        if size < _LEAST or weight > self._room or name in self._known:
            return
        copies = [(layer.keys[row, :, -size:].clone(), layer.values[row, :, -size:].clone()) for layer in layers]
        self._known[name] = Known(tokens, copies, weight)
        while len(self._known) > _KEPT or sum(known.size for known in self._known.values()) > self._room:
            self._known.popitem(last=False)


def shared(one: np.ndarray, other: np.ndarray) -> int:
    """How many first tokens are equal."""
    size = min(len(one), len(other))
    differ = one[:size] != other[:size]
    at = int(differ.argmax()) if size else 0
    return at if size and differ[at] else size
