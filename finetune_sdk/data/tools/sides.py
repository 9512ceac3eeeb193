"""What near duplicates are judged by: the texts of a row, side by side, without case, blanks and punctuation."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import msgspec

from finetune_sdk.data.canonical import key_of, prompt_key
from finetune_sdk.data.example import (
    ChatExample,
    Example,
    LabelledExample,
    PromptExample,
    StepwiseExample,
    UnpairedPreference,
)
from finetune_sdk.data.targets.base import turns_of
from finetune_sdk.data.tools.texts import texts

RUN = 3
"""Words per shingle of long texts."""
_LETTERS = 4
"""Characters per shingle of short ones: one word more or less must not change all of them."""
SHORT = 300
"""Characters from which on a text is compared by its words."""
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that are written without blanks between words: each character counts as one."""
_SIGN = r"-(?=\s*\.?\d)|[.,](?<=\d.)(?=\d)|\.(?<![\w.]\.)(?=\d)"
"""What makes another number: a minus, and a point or comma within."""
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}+*/=<>%^|&~$€£]|{_SIGN}")
_MINUS = {0x2013: "-", 0x2212: "-"}
"""The dash and the sign that stand for it in print."""
_MEDIA = ("images", "image", "videos", "audios")
_ANSWERS = ("chosen", "rejected", "completion", "completions")
"""Sides that are no part of a prompt."""


def normal(text: str) -> str:
    """The text's words, one blank between them; its signs where it has no words. Composed letters count as one."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_MINUS)
    return " ".join(_WORD.findall(text.casefold())) or "".join(text.split())


def shingles(text: str, *, short: bool) -> frozenset[str]:
    """All runs of characters (`short`) or words of a normal text; the text itself where it is shorter than a run."""
    if short:
        return frozenset(text[at : at + _LETTERS] for at in range(max(len(text) - _LETTERS, 0) + 1))
    words = text.split(" ")
    return frozenset(" ".join(words[at : at + RUN]) for at in range(max(len(words) - RUN, 0) + 1))


def overlap(first: str, second: str) -> float:
    """Jaccard's index of the shingles of two normal texts: by characters where one of them is short."""
    if first == second:
        return 1.0
    short = min(len(first), len(second)) < SHORT
    one, other = (
        _remembered(text, short=short) if len(text) <= _REMEMBERED else shingles(text, short=short)
        for text in (first, second)
    )
    both = len(one & other)
    return both / (len(one) + len(other) - both)


_REMEMBERED = 10_000
"""Characters up to which a text's shingles are remembered: rows of one template are compared again and again."""
_remembered = lru_cache(maxsize=512)(shingles)


class Sides(NamedTuple):
    """A row's texts by who says them, and a hash of what must be equal: labels, pictures, functions called."""

    facts: str
    texts: dict[str, str]

    @classmethod
    def of(cls, example: Example, *, by_prompt: bool = False) -> Sides:
        """The sides of a row; of what it asks only, if `by_prompt`."""
        if by_prompt:
            example = _asked(example)
        roles = {path: message.role for path, message in turns_of(example)}
        found: dict[str, list[str]] = {}
        for path, text in texts(example):
            turn = path.partition(".")[0]
            found.setdefault(_side(turn, roles.get(turn)), []).append(text)
        if by_prompt:
            found = {side: said for side, said in found.items() if side not in _ANSWERS} or found
        facts = [*_media(example), *(() if by_prompt else _facts(example))]
        return cls(_hash(facts) if facts else "", {side: normal("\n".join(said)) for side, said in found.items()})

    @property
    def text(self) -> str:
        """All texts but the system's, which many rows share; that one where there is nothing else."""
        said = " ".join(text for side, text in self.texts.items() if side != "system")
        return said or self.texts.get("system", "")

    def overlap(self, other: Sides, wanted: float = 0.0) -> float:
        """That of the side that overlaps least, or any below `wanted`; 0 where facts or sides differ."""
        if self.facts != other.facts or self.texts.keys() != other.texts.keys():
            return 0.0
        least = 1.0
        for side, text in self.texts.items():
            least = min(least, overlap(text, other.texts[side]))
            if least < wanted:
                break
        return least

    def digest(self) -> bytes:
        """16 bytes that name the sides."""
        return hashlib.blake2b(msgspec.json.encode(self), digest_size=16).digest()


def asked_key(example: Example, seed: int) -> int:
    """A number from `seed` and what the row asks: the same whatever case, blanks and punctuation it is asked with."""
    asked = Sides.of(example, by_prompt=True)
    return key_of(asked.digest(), seed) if asked.text else prompt_key(example, seed)


def _asked(example: Example) -> Example:
    """The example without the answer that is learned, where it is a conversation."""
    if not isinstance(example, ChatExample):
        return example
    answers = [at for at, message in enumerate(example.messages) if message.role == "assistant"]
    before = example.messages[: answers[-1]] if answers else []
    return msgspec.structs.replace(example, messages=before) if before else example


def _side(turn: str, role: str | None) -> str:
    """Who says the text of a turn; the name of the field where it is no turn, or one of an answer."""
    head = turn.partition("[")[0]
    if role is None or head in _ANSWERS:
        return head
    return "system" if role in ("system", "developer") else "assistant" if role == "assistant" else "user"


def _media(example: Example) -> Iterator[object]:
    """What is shown: rows that ask the same about different pictures ask something else."""
    yield from (example.extra[key] for key in _MEDIA if key in example.extra)
    for _, message in turns_of(example):
        if isinstance(message.content, list):
            yield from (part for part in message.content if part.get("type") != "text")


def _facts(example: Example) -> Iterator[object]:
    """What must be equal beside the texts: the label, what a grader reads, which functions are called."""
    if isinstance(example, LabelledExample | UnpairedPreference):
        yield example.label
    if isinstance(example, StepwiseExample):
        yield example.labels
    if isinstance(example, PromptExample) and example.extra:
        yield example.extra
    for _, message in turns_of(example):
        yield from (call.function.name for call in message.tool_calls or ())


def _hash(facts: list[object]) -> str:
    return hashlib.blake2b(msgspec.json.encode(facts), digest_size=8).hexdigest()
