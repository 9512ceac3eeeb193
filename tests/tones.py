"""A little task for comparisons: the tone of a text, and servers that know it or do not."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toy_chat import Chat, Reply

TONES = ("joy", "anger", "fear")


def words(index: int) -> str:
    """A row's text: words drawn for it, so that no two rows are nearly the same."""
    drawn = random.Random(index)
    return " ".join("".join(drawn.choices("abcdefghijklmnop", k=6)) for _ in range(12))


def tone(text: str) -> str:
    return TONES[sum(map(ord, text)) % len(TONES)]


Serve = Callable[[Callable[[dict[str, Any]], Reply]], Chat]


def right(body: dict[str, Any]) -> Reply:
    return tone(Chat.question(body))


def wrong(_body: dict[str, Any]) -> Reply:
    return "no idea"


def bench(rows: Path, servers: dict[str, Chat], **more: Any) -> dict[str, Any]:
    candidates = [{"name": name, "at": {"base_url": one.base_url, "model": name}} for name, one in servers.items()]
    return {"name": "tones", "data": {"train": str(rows), "test": 0.4}, "metrics": ["accuracy"], **more} | {
        "candidates": [*candidates, *more.get("candidates", [])]
    }
