"""Small learnable datasets for the methods of local providers: seeded, separable, a few words each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

_WORDS = {"joy": ("glad", "happy", "smile"), "anger": ("rage", "furious", "hate"), "fear": ("dread", "panic", "scared")}
_THINGS = ("dog", "cat", "tax", "house", "letter")
_LETTERS = "abcdefgh"


def pairs(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Preference pairs: the friendly answer is chosen."""
    draw = random.Random(seed)
    for _ in range(count):
        one, other = draw.choice(_LETTERS), draw.choice(_LETTERS)
        yield {
            "prompt": [_said("user", f"say {one} or {other}")],
            "chosen": [_said("assistant", f"yes {one}, please")],
            "rejected": [_said("assistant", f"no {other}, never")],
        }


def judged(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Single answers marked good or bad, in turn."""
    for number, row in enumerate(pairs(count, seed=seed)):
        good = number % 2 == 0
        yield {"prompt": row["prompt"], "completion": row["chosen" if good else "rejected"], "label": good}


def labelled(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Short texts and their tone."""
    draw = random.Random(seed)
    for _ in range(count):
        label = draw.choice(sorted(_WORDS))
        yield {"text": f"today {draw.choice(_WORDS[label])} about the {draw.choice(_THINGS)}", "label": label}


def asked(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Prompts with the letter a grader looks for."""
    draw = random.Random(seed)
    for number in range(count):
        yield {"messages": [_said("user", f"sing, number {number % 9}")], "wanted": draw.choice("ae")}


def chats(count: int, *, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Conversations: the tone of a text as the answer."""
    for row in labelled(count, seed=seed):
        yield {"messages": [_said("user", row["text"]), _said("assistant", row["label"])]}


def _said(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}
