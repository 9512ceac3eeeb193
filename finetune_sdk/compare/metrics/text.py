"""Metrics on the text of an answer as it stands. An item without an answer scores 0."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import average, references, share
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import SpecError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Equal to the reference but for white space around it."""
    wanted = references(items, "exact_match")
    return share(
        [one.text is not None and one.text.strip() == text.strip() for one, text in zip(answers, wanted, strict=True)]
    )


def contains(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """The reference stands in the answer, case aside."""
    wanted = references(items, "contains")
    return share(
        [text.strip().casefold() in (one.text or "").casefold() for one, text in zip(answers, wanted, strict=True)]
    )


def regex(_items: Sequence[Item], answers: Sequence[Answer], options: Mapping[str, Any]) -> Measured:
    """`pattern` is found in the answer; with `group`, what the group matched equals the reference."""
    pattern = compiled(str(options["pattern"]))
    if "group" not in options:
        return share([pattern.search(one.text or "") is not None for one in answers])
    group = options["group"]
    if group not in pattern.groupindex and not (isinstance(group, int) and 0 <= group <= pattern.groups):
        raise SpecError(f"regex: the pattern has no group {group!r}")
    wanted = references(_items, "regex with a group")
    found = [pattern.search(one.text or "") for one in answers]
    return share(
        [
            hit is not None and (hit[group] or "").strip() == text.strip()
            for hit, text in zip(found, wanted, strict=True)
        ]
    )


def compiled(pattern: str) -> re.Pattern[str]:
    """Raises `SpecError` when it is no regular expression."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SpecError(f"regex: {pattern!r} is no regular expression: {error}") from error


def token_f1(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Overlap of words, articles and punctuation aside, as SQuAD's evaluation does it (Rajpurkar et al. 2016)."""
    wanted = references(items, "token_f1")
    return average([_f1(_words(one.text or ""), _words(text)) for one, text in zip(answers, wanted, strict=True)])


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _f1(given: list[str], wanted: list[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
