# pyright: basic
"""The next token from logits, for one row: greedy or drawn; numpy only, the same in every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(kw_only=True)
class Taste:
    """How one answer is drawn. Rows share nothing: an answer does not depend on what else is in the batch."""

    temperature: float = 1.0
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    """How many alternatives to tell beside the chosen token; None = tell nothing."""
    seed: int | None = None
    grammar: Any = None
    """Something with `mask(logits)` and `accept(token)`; None = every token is allowed."""

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._counts: dict[int, int] = {}

    @property
    def plain(self) -> bool:
        """True when the likeliest token is all that is asked for."""
        return (
            self.temperature == 0
            and self.logprobs is None
            and self.grammar is None
            and not (self.logit_bias or self.presence_penalty or self.frequency_penalty)
        )

    def choose(self, logits: np.ndarray) -> tuple[int, dict[str, Any] | None]:
        """A token, and its logprob with the likeliest alternatives if asked for (of the model's own distribution)."""
        logits = np.asarray(logits, np.float32)
        changed = self._adjusted(logits)
        token = int(changed.argmax()) if self.temperature == 0 else self._drawn(changed)
        self.took(token)
        return token, None if self.logprobs is None else self.look(logits, token)

    def look(self, logits: np.ndarray, token: int) -> dict[str, Any]:
        """The logprob of a token, chosen or given, and the likeliest alternatives."""
        logits = np.asarray(logits, np.float32)
        whole = _logsumexp(logits)
        best = _likeliest(logits, self.logprobs or 0)
        return {
            "logprob": float(logits[token]) - whole,
            "top": [(int(one), float(logits[one]) - whole) for one in best],
        }

    def took(self, token: int) -> None:
        """Remember a token that was chosen for this row."""
        self._counts[token] = self._counts.get(token, 0) + 1
        if self.grammar is not None:
            self.grammar.accept(token)

    def _adjusted(self, logits: np.ndarray) -> np.ndarray:
        penalties = bool(self.presence_penalty or self.frequency_penalty)
        if not (self.logit_bias or penalties or self.grammar is not None):
            return logits
        changed = logits.copy()
        for token, bias in self.logit_bias.items():
            if 0 <= token < len(changed):
                changed[token] += bias
        if penalties:
            for token, count in self._counts.items():
                changed[token] -= self.presence_penalty + self.frequency_penalty * count
        if self.grammar is not None:
            self.grammar.mask(changed)
        return changed

    def _drawn(self, logits: np.ndarray) -> int:
        weights = np.exp((logits - logits.max()) / np.float32(max(self.temperature, _COLDEST)))
        if self.top_p < 1:
            among = _nucleus(weights, self.top_p)
            return int(among[_drawn(weights[among], self._random.random())])
        return _drawn(weights, self._random.random())


_COLDEST = 1e-5  # below it float32 cannot tell the weights apart: the likeliest is all that is left
_BLOCK = 512
"""Numbers that are looked at together: one pass over a vocabulary, then one over a block."""


def _drawn(weights: np.ndarray, at: float) -> int:
    """The place where the sum of the weights reaches the share `at` of all; never one of weight 0."""
    blocks = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64)
    reached = np.cumsum(blocks)
    wanted = at * reached[-1]
    block = min(int(np.searchsorted(reached, wanted, side="right")), int(np.flatnonzero(blocks)[-1]))
    start = block * _BLOCK
    inside = weights[start : start + _BLOCK]
    before = reached[block] - blocks[block]
    place = int(np.searchsorted(np.cumsum(inside, dtype=np.float64), wanted - before, side="right"))
    return start + min(place, int(np.flatnonzero(inside)[-1]))


def _nucleus(weights: np.ndarray, top_p: float) -> np.ndarray:
    """The likeliest tokens that together reach `top_p`, in the vocabulary's order; the largest weight is 1."""
    wanted = top_p * float(weights.sum(dtype=np.float64))
    for least in (1e-2, 1e-4, 1e-6, 0.0):
        among = np.flatnonzero(weights >= least)
        found = weights[among].astype(np.float64)
        if least == 0.0 or found.sum() >= wanted:
            break
    order = np.argsort(-found, kind="stable")
    count = int(np.searchsorted(np.cumsum(found[order]), wanted)) + 1
    return among[np.sort(order[:count])]


def _likeliest(values: np.ndarray, count: int) -> np.ndarray:
    """The places of the largest, the largest first; of equal ones the first."""
    count = min(count, len(values))
    if not count:
        return np.array([], int)
    tops = np.maximum.reduceat(values, np.arange(0, len(values), _BLOCK))
    least = np.partition(tops, -count)[-count] if count < len(tops) else -np.inf  # so many are at least this large
    among = np.flatnonzero(values >= least)
    return among[np.argsort(-values[among], kind="stable")][:count]


def _logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum(dtype=np.float64)))
