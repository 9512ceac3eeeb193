"""The reward: how much of a short song is the wanted vowel. It runs in the worker, once per sampled answer."""

from __future__ import annotations

from typing import Any


def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    """`sample["output_text"]` is the answer, `item` holds the row's own fields."""
    return min(1.0, sample["output_text"].count(item["vowel"]) / 4)
