"""How many tokens rows cost: counted with the vendor's vocabulary where it is at hand, estimated where it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from finetune_sdk.data.tools.tokens import ROUGH, Counter, counter
from finetune_sdk.errors import DataError

from .rows import Row

PER_MESSAGE = 3
"""Template tokens per message, one more for a name. Source: openai-cookbook, Chat_finetuning_data_prep, 2e652704."""


@dataclass(slots=True)
class TokenCount:
    """Adds up rows as they stream by. `exact` says whether the sum is a count or an estimate."""

    count: Callable[[str], int]
    vocabulary: bool
    """Whether `count` uses the vendor's vocabulary."""
    total: int = 0
    longest: int = 0
    unusual: bool = False
    """Tools or images were seen: how the vendor counts those is not published."""

    def add(self, row: Row) -> int:
        """The tokens of one row, which are added to the total."""
        if "input" in row:
            prompt = self._half(row["input"])
            chosen, rejected = (
                self._half({"messages": row[key]}) for key in ("preferred_output", "non_preferred_output")
            )
            size = 2 * prompt + chosen + rejected
        else:
            size = self._half(row)
        self.total += size
        self.longest = max(self.longest, size)
        return size

    @property
    def exact(self) -> bool:
        return self.vocabulary and not self.unusual

    @property
    def basis(self) -> str:
        """How the sum came about and how far off it may be."""
        if self.exact:
            return "tokens counted with o200k_base and 3 template tokens per message"
        if self.vocabulary:
            return "tokens counted with o200k_base; tools and images reckoned roughly, within about 20 %"
        return (
            "tokens estimated at 4 bytes each, within about 20 % for English and far lower for other scripts; "
            'install the vocabulary for a count: pip install "finetune-sdk[openai]"'
        )

    def _half(self, row: Row) -> int:
        size = sum(self._message(message) for message in row["messages"])
        if row.get("tools"):
            self.unusual = True
            size += self.count(json.dumps(row["tools"], ensure_ascii=False))
        return size

    def _message(self, message: Row) -> int:
        size = PER_MESSAGE + (1 if "name" in message else 0)
        content: Any = message.get("content")
        single: list[Row] = [{"type": "text", "text": content or ""}]
        parts = cast("list[Row]", content) if isinstance(content, list) else single
        for part in parts:
            if part.get("type") == "image_url":
                self.unusual = True
                size += 85  # a low-detail image, Azure's vision guide
            else:
                size += self.count(str(part.get("text") or ""))
        for call in message.get("tool_calls") or ():
            self.unusual = True
            size += self.count(call["function"]["name"]) + self.count(call["function"]["arguments"])
        return size


@cache
def _counter() -> Counter:
    """The SDK's own counter for the vendor's vocabulary; its rule of thumb where that is not on this machine."""
    try:
        return counter("o200k_base")
    except DataError:
        return ROUGH


def token_count() -> TokenCount:
    """A fresh sum, exact when the vocabulary (package `bpe-openai`) is installed."""
    found = _counter()
    return TokenCount(lambda text: round(found.count(text)), vocabulary=found.exact)


def epochs_guess(rows: int) -> int:
    """What "auto" epochs come to. Source: openai-cookbook, Chat_finetuning_data_prep, 2e652704."""
    if rows <= 0:
        return 1
    if rows * 3 < 100:
        return min(25, -(-100 // rows))
    return max(1, 25_000 // rows) if rows * 3 > 25_000 else 3
