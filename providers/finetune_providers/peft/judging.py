"""What is wrong with each row for this provider, found while `prepare` reads the data: no second pass, nothing heavy.

Two questions: may the worker train on it at all (the rules of the target `peft`), and does it fit `max_seq_length`? The
second is answered with the model's own vocabulary where that lies on this machine, else estimated from the length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    LabelledExample,
    Message,
    PreferenceExample,
    PromptExample,
    TextExample,
    UnpairedPreference,
)
from finetune_sdk.data.targets import Row, Rule, profiles
from finetune_sdk.data.targets.rules import Refuses
from finetune_sdk.data.tools.tokens import ROUGH, Counter
from finetune_sdk.types import Finding

RAW = "prompt_completion"
"""The shape of rows made of plain strings: a model without a chat template can be trained on them as they are."""
MARKS = 4
"""What a chat template writes around a message, in tokens, as ChatML does: start, role, line end, end."""
EVERY = "*"
"""In `Judge.accepts`: what looks at every row."""
_COUNTED = 500
"""Rows counted with the vocabulary whatever their length: they show how far the estimate of the others is off."""
_NEAR = (0.5, 8.0)
"""Later rows are counted only if their estimated length is within these multiples of the limit."""
_FIX = "Raise hyperparameters.max_seq_length, or shorten the row."


@dataclass(frozen=True, slots=True)
class Piece:
    """What the model reads in one go: texts before the first one that is learned, and the rest."""

    before: Sequence[str]
    rest: Sequence[str]
    turns_before: int = 0
    turns: int = 0
    path: str | None = None


@dataclass(frozen=True, slots=True)
class _Length:
    text: float
    marks: int
    counted: bool

    @property
    def total(self) -> float:
        return self.text + self.marks

    def __str__(self) -> str:
        if not self.counted:
            return f"about {self.total:,.0f} tokens (an estimate: {ROUGH.name})"
        marks = f" and about {self.marks:,} of the chat template" if self.marks else ""
        return f"{self.text:,.0f} tokens of text{marks}"


@dataclass(kw_only=True)
class Judge:
    """Hand it to `prepare`; afterwards it knows about the data as a whole."""

    method: str
    train_on: str = "assistant"
    limit: int
    """Tokens that fit; what is longer is cut (a prompt of reinforcement learning is left out)."""
    limit_name: str
    counter: Counter = ROUGH
    template: bool = True
    """Conversations are rendered with a chat template."""
    conversations: bool = False
    """Some row is no pair of plain strings."""
    accepts: Mapping[str, Callable[[Example], Iterator[Finding]]] = field(
        default_factory=dict[str, Callable[[Example], Iterator[Finding]]]
    )
    """Features of rows that the rules refuse and this job takes, such as `images`, with what looks at them."""
    tokens: float = 0.0
    """Of all rows, cut to the limit."""
    _refusals: Mapping[str, Rule] = field(init=False)
    _others: tuple[Rule, ...] = field(init=False)
    _rows: int = 0
    _counted: float = 0.0
    _estimated: float = 0.0

    def __post_init__(self) -> None:
        rules = [rule for profile in profiles("peft", method=self.method) for rule in profile.rules]
        self._refusals = {rule.of: rule for rule in rules if isinstance(rule, Refuses)}
        self._others = tuple(rule for rule in rules if not isinstance(rule, Refuses))

    def __call__(self, example: Example) -> Iterator[Finding]:
        self._rows += 1
        self.conversations = self.conversations or example.shape != RAW
        row = Row.of(example)
        taken = [name for name in (*row.features, EVERY) if name in self.accepts]
        for name in taken:
            yield from self.accepts[name](example)
        refusing = [self._refusals[name] for name in row.features if name in self._refusals and name not in taken]
        for rule in (*refusing, *self._others):
            for path, message, fix in rule.row(row):
                yield Finding(rule=rule.rule, severity=rule.severity, message=message, fix=fix, path=path or None)
        for piece in pieces(example, self.train_on):
            yield from self._fits(piece)

    def _fits(self, piece: Piece) -> Iterator[Finding]:
        length = self._length([*piece.before, *piece.rest], piece.turns)
        self.tokens += min(length.total, self.limit)
        if length.total <= self.limit:
            return
        before = self._length(piece.before, piece.turns_before)
        if self.method == "rft":
            yield _warning(
                "prompt-too-long", f"{length}: the prompt does not fit {self.limit_name}; it is left out", piece
            )
        elif before.total >= self.limit:
            text = f"{before} before the first answer to learn: nothing of it lies within {self.limit_name}"
            yield _warning("row-no-loss", f"{text}, so the row is left out", piece)
        else:
            yield _warning("row-truncated", f"{length}: what lies beyond {self.limit_name} is cut", piece)

    def _length(self, texts: Sequence[str], turns: int) -> _Length:
        marks = MARKS * turns if self.template else 0
        rough = sum(map(ROUGH.count, texts))
        likely = rough * (self._counted / self._estimated if self._estimated else 1.0)
        low, high = (self.limit * factor for factor in _NEAR)
        if not self.counter.exact or (self._rows > _COUNTED and not low < likely < high):
            return _Length(likely, marks, counted=False)
        text = sum(map(self.counter.count, texts))
        if self._rows <= _COUNTED:
            self._counted += text
            self._estimated += rough
        return _Length(text, marks, counted=True)


def _warning(rule: str, message: str, piece: Piece) -> Finding:
    return Finding(rule=rule, severity="warning", message=message, fix=_FIX, path=piece.path)


def pieces(example: Example, train_on: str) -> Iterator[Piece]:
    """The sequences the worker makes of a row: one, or one per answer of a preference pair."""
    if isinstance(example, TextExample):
        yield Piece((), (example.text,))
    elif isinstance(example, LabelledExample):
        yield Piece((), (example.text, example.text_pair or ""))
    elif isinstance(example, ChatExample):
        yield _piece(example.messages, _first_learned(example.messages, train_on), example.tools)
    elif isinstance(example, PreferenceExample):
        for path, answer in (("chosen", example.chosen), ("rejected", example.rejected)):
            yield _piece([*example.prompt, *answer], len(example.prompt), example.tools, path)
    elif isinstance(example, UnpairedPreference):
        yield _piece([*example.prompt, *example.completion], len(example.prompt), example.tools)
    elif isinstance(example, PromptExample):
        yield _piece(example.prompt, 0, example.tools)


def _first_learned(messages: Sequence[Message], train_on: str) -> int:
    if train_on == "all":
        return 0
    answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
    if train_on == "last_assistant":
        return answers[-1] if answers else len(messages)
    return next((i for i in answers if messages[i].weight != 0), len(messages))


def _piece(
    messages: Sequence[Message], first: int, tools: list[dict[str, object]] | None, path: str | None = None
) -> Piece:
    definitions = [msgspec.json.encode(tools).decode()] if tools else []
    before = [*definitions, *(text for message in messages[:first] for text in _texts(message))]
    rest = [text for message in messages[first:] for text in _texts(message)]
    return Piece(before, rest, first, len(messages), path)


def _texts(message: Message) -> Iterator[str]:
    yield message.text
    if message.reasoning:
        yield message.reasoning
    for call in message.tool_calls or ():
        yield call.function.name
        yield call.function.arguments
