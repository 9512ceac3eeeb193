"""What a target's training service accepts, as data: a profile is a row of tables, its rules are small records.

A rule looks at one row, or at what was counted over all rows. It carries where it was read and when, and says in
words what it demands: the checker, the converter and the documentation use the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import ClassVar, NamedTuple, cast

from finetune_sdk.data.example import Example, Kind, Message
from finetune_sdk.data.features import features
from finetune_sdk.types import Severity


class Doc(NamedTuple):
    """Where a rule was read, and when (ISO date)."""

    source: str
    read_on: str


class Problem(NamedTuple):
    """Something a rule objects to: JSON path in the row ("" = the file), what, and what to do about it."""

    path: str
    message: str
    fix: str


@dataclass(slots=True)
class Row:
    """An example with what several rules want to know of it, found once."""

    example: Example
    features: Mapping[str, str]
    """Each feature it uses, with the JSON path of the first place."""
    turns: tuple[tuple[str, Message], ...]
    """All messages with their JSON paths."""
    tokens: float = 0
    """Tokens of the row, as exact as the counter is."""
    images: int = 0

    @classmethod
    def of(cls, example: Example, *, tokens: float = 0) -> Row:
        """The view of one example."""
        found: dict[str, str] = {}
        for name, path in features(example):
            found.setdefault(name, path)
        turns = tuple(turns_of(example))
        if any(example.extra.get(key) for key in ("image", "images")):
            found.setdefault("images", "images")
        beside = next((key for key in BESIDE if example.extra.get(key)), None)
        if beside is not None:
            found.setdefault("other-parts", beside)
        images = sum(1 for _, message in turns for _ in image_urls(message)) if "images" in found else 0
        return cls(example, found, turns, tokens, images)


BESIDE = ("videos", "audios")
"""Keys of a row under which LLaMA-Factory has films and sounds, in the places of marks in the texts."""


def turns_of(example: Example) -> Iterator[tuple[str, Message]]:
    """All messages of an example with their JSON paths."""
    for name in ("messages", "prompt", "chosen", "rejected", "completion"):
        part: object = getattr(example, name, None)
        if isinstance(part, list):
            for index, message in enumerate(cast("list[Message]", part)):
                yield f"{name}[{index}]", message


def image_urls(message: Message) -> Iterator[tuple[int, str]]:
    """The images of a message: index of the part and URL."""
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if part.get("type") == "image_url":
                yield index, str(part["image_url"]["url"])


@dataclass(slots=True)
class Totals:
    """What was counted over all rows of a dataset."""

    rows: int = 0
    bytes: int = 0
    """Size of the rows in canonical form, which is close to that of any JSONL."""
    image_rows: int = 0
    most_tokens: float = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One demand of a target. Override `row` or `whole`, and `words`."""

    name: ClassVar[str]
    doc: Doc
    severity: Severity = "error"

    @property
    def rule(self) -> str:
        """The identifier findings carry."""
        return self.name

    @property
    def feature(self) -> str | None:
        """The feature whose loss would satisfy the rule, None if losing one does not help."""
        return None

    def row(self, row: Row) -> Iterator[Problem]:
        """Objections to one row."""
        del row
        return iter(())

    def whole(self, totals: Totals) -> Iterator[Problem]:
        """Objections to the dataset as a whole."""
        del totals
        return iter(())

    def words(self) -> str:
        """The demand, for a person."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one target takes for some methods and models."""

    target: str
    methods: tuple[str, ...]
    models: tuple[str, ...] = ("*",)
    """Patterns of the model ids it is about."""
    family: str = ""
    """The models in words, where it is not all of them."""
    kinds: tuple[Kind, ...]
    """Kinds of examples it takes; the first is its own, the others are turned into it."""
    format: str | None
    """Our name of the format it is sent in; None = not written by this SDK yet."""
    hosted: bool
    """The rows leave this machine."""
    null_content: bool = True
    """A turn without text may hold null in its place; otherwise the key is left out."""
    doc: Doc
    rules: tuple[Rule, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """What to know that no rule can check."""

    @property
    def name(self) -> str:
        """Target, methods and family, for tables."""
        family = f" ({self.family})" if self.family else ""
        return f"{self.target} {'/'.join(self.methods)}{family}"

    def covers(self, *, method: str | None, model: str | None) -> bool:
        """Whether the profile is about this method and this model; None = any."""
        return (method is None or method in self.methods) and (
            model is None or any(fnmatch(model.lower(), pattern) for pattern in self.models)
        )
