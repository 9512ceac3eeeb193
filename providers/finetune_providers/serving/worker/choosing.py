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
        logits = logits.astype(np.float32)
        told = None if self.logprobs is None else logits - _logsumexp(logits)
        changed = self._adjusted(logits)
        token = int(changed.argmax()) if self.temperature == 0 else self._drawn(changed)
        self.took(token)
        return token, None if told is None else self._told(told, token)

    def look(self, logits: np.ndarray, token: int) -> dict[str, Any]:
        """The logprob of a token that was not chosen but given, and the likeliest alternatives."""
        logits = logits.astype(np.float32)
        return self._told(logits - _logsumexp(logits), token)

    def took(self, token: int) -> None:
        """Remember a token that was chosen for this row."""
        self._counts[token] = self._counts.get(token, 0) + 1
        if self.grammar is not None:
            self.grammar.accept(token)

    def _adjusted(self, logits: np.ndarray) -> np.ndarray:
        changed = logits.copy()
        for token, bias in self.logit_bias.items():
            if 0 <= token < len(changed):
                changed[token] += bias
        if self.presence_penalty or self.frequency_penalty:
            for token, count in self._counts.items():
                changed[token] -= self.presence_penalty + self.frequency_penalty * count
        if self.grammar is not None:
            self.grammar.mask(changed)
        return changed

    def _drawn(self, logits: np.ndarray) -> int:
        scaled = logits.astype(np.float64) / self.temperature
        weights = np.exp(scaled - scaled.max())
        weights /= weights.sum()
        if self.top_p < 1:
            weights = _nucleus(weights, self.top_p)
        at = np.searchsorted(np.cumsum(weights), self._random.random() * weights.sum(), side="right")
        return int(min(at, np.flatnonzero(weights)[-1]))

    def _told(self, logprobs: np.ndarray, token: int) -> dict[str, Any]:
        count = min(self.logprobs or 0, len(logprobs))
        best = np.argpartition(-logprobs, count - 1)[:count] if count else np.array([], int)
        best = best[np.argsort(-logprobs[best], kind="stable")]
        return {"logprob": float(logprobs[token]), "top": [(int(one), float(logprobs[one])) for one in best]}


def _nucleus(weights: np.ndarray, top_p: float) -> np.ndarray:
    """Only the likeliest tokens that together reach `top_p`; the rest is 0."""
    possible = np.flatnonzero(weights >= (1 - top_p) / len(weights))  # all others together cannot reach 1 - top_p
    order = possible[np.argsort(-weights[possible], kind="stable")]
    reached = np.cumsum(weights[order])
    kept = order[: int(np.searchsorted(reached, top_p)) + 1]
    out = np.zeros_like(weights)
    out[kept] = weights[kept]
    return out


def _logsumexp(values: np.ndarray) -> float:
    top = values.max()
    return float(top + np.log(np.exp(values - top).sum()))
