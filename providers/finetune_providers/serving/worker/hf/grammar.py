# pyright: basic
"""Answers that must fit a JSON schema, through llguidance where it is installed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ..rows import Refused


class Grammar:
    """Allows what may come next. Ends by the model's own end token once the value is complete."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits: np.ndarray) -> None:
        """Make what is not allowed impossible, in place."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = np.zeros(len(logits), bool)
        count = min(len(bits), len(logits))
        allowed[:count] = bits[:count]
        if allowed.any():
            logits[~allowed] = -np.inf

    def accept(self, token: int) -> None:
        """Remember what was chosen."""
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


class Grammars:
    """The grammars of one tokenizer."""

    def __init__(self, tokenizer: Any, *, size: int, ends: frozenset[int]) -> None:
        self._tokenizer = tokenizer
        self._size = size
        self._ends = ends
        self._vocabulary: Any = None

    def of(self, wanted: dict[str, Any]) -> Grammar:
        """For a JSON schema. Raises `Refused` when it is none that can be followed."""
        import llguidance  # noqa: PLC0415 - an extra of the engine's environment
        import llguidance.hf  # noqa: PLC0415

        if self._vocabulary is None:
            self._vocabulary = llguidance.hf.from_tokenizer(
                self._tokenizer, n_vocab=self._size, eos_token=sorted(self._ends) or None
            )
        try:
            text = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(wanted))
            matcher = llguidance.LLMatcher(self._vocabulary, text)
        except ValueError as exc:
            raise Refused(f"the JSON schema cannot be followed: {exc}", param="response_format") from exc
        if matcher.is_error():
            raise Refused(f"the JSON schema cannot be followed: {matcher.get_error()}", param="response_format")
        return Grammar(matcher)
