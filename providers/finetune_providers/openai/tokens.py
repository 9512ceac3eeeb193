"""How many tokens rows cost: counted with the vendor's vocabulary where it is at hand, estimated where it is not."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from .rows import Row

PER_MESSAGE = 3
"""Template tokens per message, one more for a name. Source: openai-cookbook, Chat_finetuning_data_prep, 2e652704."""
_PIECE = 500_000  # bpe-openai 0.1.4 refuses a million characters
BYTES_PER_TOKEN = 4.0
"""Of o200k_base on English text and code: 10 % too many bytes to the token on the corpus it was measured with."""


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
def _vocabulary() -> Callable[[str], int] | None:
    try:
        with warnings.catch_warnings():  # bpe-openai 0.1.4 reads its data through a deprecated function
            warnings.simplefilter("ignore", DeprecationWarning)
            encoding: Any = importlib.import_module("bpe_openai").get_encoding("o200k_base")
    except ImportError:
        return None
    return lambda text: sum(len(encoding.encode_ordinary(piece)) for piece in _pieces(text))


def _pieces(text: str) -> list[str]:
    """The text in pieces that the library takes; a cut costs at most one token."""
    return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]


def token_count() -> TokenCount:
    """A fresh sum, exact when the vocabulary (package `bpe-openai`) is installed."""
    count = _vocabulary()
    if count is None:
        return TokenCount(lambda text: round(len(text.encode(errors="replace")) / BYTES_PER_TOKEN), vocabulary=False)
    return TokenCount(count, vocabulary=True)


def epochs_guess(rows: int) -> int:
    """What "auto" epochs come to. Source: openai-cookbook, Chat_finetuning_data_prep, 2e652704."""
    if rows <= 0:
        return 1
    if rows * 3 < 100:
        return min(25, -(-100 // rows))
    return max(1, 25_000 // rows) if rows * 3 > 25_000 else 3
