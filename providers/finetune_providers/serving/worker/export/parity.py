# pyright: basic
"""Does an exported form read and answer as the model that was trained? Token ids, BOS, stop tokens, greedy tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..rows import Failed

FIRST_TOKENS = 16
"""Greedy tokens that are compared."""


class Form(Protocol):
    """A model in some form, as somebody would serve it."""

    name: str
    ends: frozenset[int]

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens a conversation becomes."""
        ...

    def greedy(self, prompt: Sequence[int], count: int) -> list[int]:
        """The likeliest tokens that follow, the end token left out."""
        ...


@dataclass(kw_only=True)
class Verdict:
    """What was compared."""

    form: str
    conversations: int = 0
    equal_prompts: int = 0
    equal_answers: int = 0
    equal_tokens: int = 0
    tokens: int = 0
    tolerance: float = 0.0
    """Share of the greedy tokens that may differ; 0 for forms that lose nothing."""
    differences: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise `Failed` with the differences."""
        agreeing = self.equal_tokens / self.tokens if self.tokens else 1.0
        exact = self.equal_prompts == self.conversations and not any(one.startswith("stop") for one in self.differences)
        if exact and agreeing >= 1 - self.tolerance:
            return
        shown = "\n".join(self.differences[:6])
        raise Failed(
            f"the {self.form} form is not the model that was trained: {self.equal_prompts} of {self.conversations} "
            f"prompts and {self.equal_tokens} of {self.tokens} greedy tokens are equal (allowed to differ: "
            f"{self.tolerance:.0%}). Nothing was exported.\n{shown}"
        )


def compare(trained: Form, exported: Form, conversations: Sequence[Any], *, tolerance: float) -> Verdict:
    """Both forms, asked the same."""
    verdict = Verdict(form=exported.name, tolerance=tolerance)
    if trained.ends != exported.ends:
        verdict.differences.append(f"stop tokens: {sorted(trained.ends)} in training, {sorted(exported.ends)} here")
    for messages in conversations:
        verdict.conversations += 1
        one, other = trained.prompt(messages), exported.prompt(messages)
        if one != other:
            verdict.differences.append(_first_difference(one, other))
            continue
        verdict.equal_prompts += 1
        said, also = trained.greedy(one, FIRST_TOKENS), exported.greedy(one, FIRST_TOKENS)
        same = next((i for i, (a, b) in enumerate(zip(said, also, strict=False)) if a != b), min(len(said), len(also)))
        verdict.tokens += max(len(said), 1)
        verdict.equal_tokens += same if said else int(not also)
        verdict.equal_answers += said == also
        if said != also:
            verdict.differences.append(f"greedy tokens: {said} as trained, {also} here (prompt of {len(one)} tokens)")
    return verdict


def _first_difference(one: Sequence[int], other: Sequence[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return (
        f"prompt tokens differ at {at}: {list(one[at : at + 6])} in training, {list(other[at : at + 6])} here "
        f"({len(one)} and {len(other)} tokens)"
    )
