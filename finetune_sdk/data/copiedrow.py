"""One row on its way to a line of the `chat` format, its texts copied as they stand: see `copied`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from finetune_sdk.data.copiedcalls import Calls, Odd
from finetune_sdk.data.example import ROLES, Role
from finetune_sdk.data.jsonvalue import INSIDE, MAX_DEPTH, colons
from finetune_sdk.data.marks import BLANK

Turn: TypeAlias = dict[str, Any]
"""JSON as it stands, as bytes or `Raw`."""
Piece: TypeAlias = Any
"""Bytes, or a text as it stands, which can be joined with bytes."""

HEADS: Mapping[Role, bytes] = {role: b'},{"role":"%b"' % role.encode() for role in ROLES}
"""What begins a turn, and ends the one before it."""
TEXT_HEADS: Mapping[Role, bytes] = {role: head + b',"content":' for role, head in HEADS.items()}
"""The same, and what comes before its text."""
_UNUSUAL = re.compile(rb'[^"]|"' + BLANK + rb'*"')
_NESTING = frozenset((dict, list))
_BRACKETS = MAX_DEPTH - INSIDE
"""So many open at most as many levels."""
_AS_IT_IS = b'"ntf'
"""What a value begins with that is written one way only."""
_MANY, _LONG = 4096, 300
"""How many turns are remembered without their texts, and from how many bytes on none."""
_WORDS = 1000
"""So many keys and names are remembered."""
_SHORT = 20
"""So many digits are looked at: beyond some thousands of them a number is refused."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

unusual: Callable[[bytes | Raw], re.Match[bytes] | None] = _UNUSUAL.match
"""The first byte of JSON that is no text, or a blank text; None of any other text."""


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """How turns of one format are read."""

    keys: tuple[str, str]
    """Those of who speaks, and what."""
    tools: frozenset[str]
    """Keys of turns that are a matter of tools."""
    speakers: Mapping[bytes, Role]
    """By the word, as JSON; for whom there is neither call nor result."""
    more: Callable[[Row, Turn], tuple[float | None, Sequence[Piece]]]
    """The weight of a turn whose text is usual, and what follows the text. Raises like `other`."""
    other: Callable[[Row, Turn], None]
    """Adds any other turn to a row. Raises `Odd` or `KeyError`, or what reading raises."""
    parts: Callable[[Row, Role, Raw], None] | None = None
    """Adds a turn of several parts and nothing else, where there may be some. Raises like `other`."""


class Row:
    """The turns of one row, while they are written."""

    __slots__ = ("_untrained", "calls", "gained", "pieces", "roles")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.roles: list[Role] = []
        """Of each turn."""
        self._untrained = 0
        self.calls: Calls | None = None
        self.gained = 0
        """How many colons the line has more than the row."""

    def system(self, text: bytes) -> None:
        """Take a system prompt that stands beside the turns, before any of them."""
        if text in (b'""', b"null"):
            self.gained -= 1
        elif unusual(text):
            raise Odd
        else:
            self.gained += 1
            self.add("system", (b',"content":', text))

    def speak(self, turns: Iterable[Turn], speech: Speech) -> None:
        """Take all turns."""
        who, what = speech.keys
        role_of, other, no_tools = speech.speakers.get, speech.other, speech.tools.isdisjoint
        parts = speech.parts
        pieces, add_role = self.pieces, self.roles.append
        for turn in turns:
            text = turn.get(what, b"null")
            odd = unusual(text)
            if odd:
                role = role_of(bytes(turn[who])) if odd[0] == b"[" and len(turn) == 2 else None
                if role is None or parts is None:
                    other(self, turn)
                else:
                    parts(self, role, text)
                continue
            found = None
            if len(turn) == 2:
                role = role_of(bytes(turn[who]))
                if role is not None:
                    add_role(role)
                    pieces += (TEXT_HEADS[role], text)
                    continue
            elif len(turn) > 2 and no_tools(turn):
                del turn[what]
                values = b"\n".join(turn.values())
                found = (_recalled if len(values) < _LONG else _found)(speech, tuple(turn), values)
                turn[what] = text
            if found is None:
                other(self, turn)
                continue
            role, untaught, after, gained = found
            self._untrained += untaught
            self.gained += gained
            add_role(role)
            pieces += (TEXT_HEADS[role], text, after)

    def add(self, role: Role, body: Collection[Piece], *, says: bool = True, weight: float | None = None) -> None:
        """Take a turn; `body` is what follows its role. Raises `Odd` where it is to be learned and says nothing."""
        if weight == 0:
            self._untrained += role == "assistant"
        elif not says and role == "assistant":
            raise Odd
        self.roles.append(role)
        self.pieces.append(HEADS[role])
        self.pieces += body

    def asked(self) -> Calls:
        """What was asked of tools, for one who asks now or answers."""
        if self.calls is None:
            self.calls = Calls()
        self.calls.move_to(len(self.roles))
        return self.calls

    def line(self, after: Sequence[bytes] = (), functions: Collection[bytes] = ()) -> list[Piece]:
        """The whole line in pieces. `after`: what follows the turns; `functions`: those that may be called, as JSON, if
        any are given. Raises `Odd` where something is to be said about the row.
        """
        roles = self.roles
        if not roles or roles[-1] != "assistant" or roles.count("assistant") == self._untrained:
            raise Odd
        if self.calls is not None:
            self.calls.end(len(roles), functions)
        pieces = self.pieces
        pieces[0] = begun(pieces[0])
        if after:
            pieces.append(b"}]")
            pieces += after
            pieces.append(b"}\n")
        else:
            pieces.append(b"}]}\n")
        return pieces


@lru_cache(_WORDS)
def begun(head: bytes) -> bytes:
    """What begins a turn, at the beginning of a line."""
    return b'{"messages":[' + head[2:]


def _found(speech: Speech, keys: tuple[str, ...], values: bytes) -> tuple[Role, bool, bytes, int] | None:
    """What is known of a turn with a usual text from its other keys and, line by line, their values.

    Who speaks, whether it is an answer that is not to be learned, what follows the text, and how many colons more that
    has; None where it is told from more than that.
    """
    turn: Turn = dict(zip(keys, values.split(b"\n"), strict=True))
    role = speech.speakers.get(turn[speech.keys[0]])
    row = Row()
    if role is None:
        return None
    weight, more = speech.more(row, turn)
    return role, weight == 0 and role == "assistant", b"".join(more), row.gained


_recalled = lru_cache(_MANY)(_found)


def as_json(word: str) -> bytes:
    """A text as JSON."""
    return _encoder.encode(word)


name_as_json = lru_cache(_WORDS)(as_json)
"""The same for texts that come often."""


@lru_cache(_WORDS)
def head_of(key: str) -> bytes:
    """A key, with all that stands between the value before it and its own."""
    return b",%b:" % as_json(key)


def value_of(raw: Raw) -> bytes:
    """JSON as we write it, from that of a value without odd escapes. Keys that come twice in it are lost."""
    text = bytes(raw)
    if text[0] in _AS_IT_IS or (len(text) < _SHORT and text.isdigit()):
        return text
    value = _decoder.decode(text)
    if type(value) in _NESTING:
        flat(text, value)
    return _encoder.encode(value)


def flat(text: bytes, value: object) -> None:
    """Raises `RecursionError` where the value of a row may be nested too deeply."""
    if len(text) > _BRACKETS and text.count(b"[") + text.count(b"{") > _BRACKETS:
        colons([value], depth=INSIDE)
