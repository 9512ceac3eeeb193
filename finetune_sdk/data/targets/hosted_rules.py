"""Demands that hosted trainers make of turns and of preference pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from msgspec import UNSET

from finetune_sdk.data.example import Message, PreferenceExample, Role
from finetune_sdk.data.features import FEATURES, RESPONSES_TEXTS
from finetune_sdk.data.targets.base import BESIDE, Problem, Row, Rule
from finetune_sdk.data.targets.rules import INLINE
from finetune_sdk.types import Severity

TEXT_ROLES = frozenset[Role](("system", "user", "assistant", "tool"))
"""The roles of conversations nearly everywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content(Rule):
    """No turn is empty."""

    name: ClassVar[str] = "turn-empty"

    def row(self, row: Row) -> Iterator[Problem]:
        for path, message in row.turns:
            if not _says(message):
                yield Problem(path, f"an empty turn of the {message.role}", "Give it content, or remove it.")

    def words(self) -> str:
        return "every turn has content, a tool call or a refusal"


def _says(message: Message) -> bool:
    if message.tool_calls or message.refusal is not None:
        return True
    return message.content not in (None, UNSET, "", [])


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherParts(Rule):
    """Contents are texts and images, and what else `allowed` names; refusals are another rule's matter."""

    name: ClassVar[str] = "other-parts"
    allowed: tuple[str, ...] = ("text", "image_url")
    """Types of parts."""
    but: str = ""
    """The allowed ones in words, where they are more than texts and images."""

    @property
    def feature(self) -> str | None:
        return self.name

    def row(self, row: Row) -> Iterator[Problem]:
        if row.features.get(self.name) in BESIDE:
            path = row.features[self.name]
            yield Problem(path, f"{path!r} lie beside the conversation: not accepted", "Remove them, or the row.")
        elif self.name not in row.features:
            return
        for path, kind, refusal in _parts(row):
            if kind not in self.allowed and not refusal:
                fix = f"Remove it, or drop it in conversion: `--allow-loss {self.name}`."
                if kind == "image":
                    fix = INLINE
                elif kind in RESPONSES_TEXTS:
                    fix = "Write `text` as its type: this is the Responses API's."
                yield Problem(path, f"{FEATURES[self.name]}: not accepted", fix)
                return

    def words(self) -> str:
        but = f", but for {self.but}" if self.but else ""
        return f"{FEATURES[self.name]}: not accepted{but}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalParts(Rule):
    """A refusal among the parts of an answer: part of the chat API, not of the training schema."""

    name: ClassVar[str] = "refusal-parts"
    severity: Severity = "warning"

    def row(self, row: Row) -> Iterator[Problem]:
        for path, _, refusal in _parts(row):
            if refusal:
                yield Problem(path, "a refusal as a part of the content", "Write it as text, or as `refusal`.")
                return

    def words(self) -> str:
        return "a refusal as a part of the content: doubtful"


def _parts(row: Row) -> Iterator[tuple[str, object, bool]]:
    """Path and type of all parts of contents, and whether it is an answer's refusal."""
    for path, message in row.turns:
        if isinstance(message.content, list):
            for index, part in enumerate(message.content):
                kind = part.get("type")
                yield f"{path}.content[{index}]", kind, kind == "refusal" and message.role == "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers(Rule):
    """Who speaks in each half of a preference pair."""

    name: ClassVar[str] = "preference-answer"
    roles: frozenset[Role] = frozenset(("assistant",))

    def row(self, row: Row) -> Iterator[Problem]:
        if not isinstance(row.example, PreferenceExample):
            return
        for part in ("chosen", "rejected"):
            answer: list[Message] = getattr(row.example, part)
            roles = {message.role for message in answer}
            if "assistant" not in roles or not roles <= self.roles:
                yield Problem(
                    part,
                    f"{len(answer)} turns of {', '.join(sorted(roles)) or 'nobody'}; {self.words()}",
                    "Keep the assistant's last turn, and move what comes before it into the prompt.",
                )

    def words(self) -> str:
        return f"each answer has turns of the {' or the '.join(sorted(self.roles))}, one of the assistant at least"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Rule):
    """A preference pair has a prompt, and two answers that differ."""

    name: ClassVar[str] = "preference-pair"

    def row(self, row: Row) -> Iterator[Problem]:
        if not isinstance(row.example, PreferenceExample):
            return
        if not row.example.prompt:
            yield Problem("prompt", "a preference pair without a prompt", "Add the question.")
        if row.example.chosen == row.example.rejected:
            yield Problem("rejected", "both answers are the same", "Remove the row.")

    def words(self) -> str:
        return "a pair has a prompt and two different answers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnable(Rule):
    """There is something to learn from."""

    name: ClassVar[str] = "nothing-to-learn"

    def row(self, row: Row) -> Iterator[Problem]:
        answers = [message for _, message in row.turns if message.role == "assistant"]
        if not answers:
            yield Problem("messages", "no turn of the assistant: nothing to learn", "Add the answer.")
        elif all(message.weight == 0 for message in answers):
            yield Problem("messages", "every answer has weight 0: nothing to learn", "Give one weight 1.")

    def words(self) -> str:
        return "at least one turn of the assistant that is learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallIdShape(Rule):
    """Some models of the target take ids of one shape only."""

    name: ClassVar[str] = "tool-call-id-shape"
    severity: Severity = "warning"
    pattern: str
    who: str
    """Which models, in words."""

    def row(self, row: Row) -> Iterator[Problem]:
        if "tool-call-ids" not in row.features:
            return
        for path, message in row.turns:
            for index, call in enumerate(message.tool_calls or []):
                if isinstance(call.id, str) and not re.fullmatch(self.pattern, call.id):
                    what = f"{self.who} refuse the id {call.id[:40]!r}"
                    yield Problem(f"{path}.tool_calls[{index}].id", what, f"Write ids that match `{self.pattern}`.")
                    return

    def words(self) -> str:
        return f"{self.who} take ids of tool calls that match `{self.pattern}` only"
