"""One row on its way to a line of the `chat` format, its texts copied as they stand: see `copied`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from finetune_sdk.data.copiedcalls import Calls, Odd
from finetune_sdk.data.example import ROLES, Role
from finetune_sdk.data.jsonvalue import INSIDE, MAX_DEPTH, colons
from finetune_sdk.data.marks import BLANK

Turn: TypeAlias = dict[str, Raw]
Piece: TypeAlias = Any
"""Bytes, or a text as it stands, which can be joined with bytes."""

_HEADS: Mapping[Role, bytes] = {role: b'},{"role":"%b"' % role.encode() for role in ROLES}
"""What begins a turn, and ends the one before it."""
_TEXT_HEADS: Mapping[Role, bytes] = {role: head + b',"content":' for role, head in _HEADS.items()}
_UNUSUAL = re.compile(rb'[^"]|"' + BLANK + rb'*"')
_FIRST: Mapping[Piece, bytes] = {
    head: b'{"messages":[' + head[2:] for heads in (_HEADS, _TEXT_HEADS) for head in heads.values()
}
_NESTING = frozenset((dict, list))
_BRACKETS = MAX_DEPTH - INSIDE
"""So many open at most as many levels."""
_AS_IT_IS = b'"ntf'
"""What a value begins with that is written one way only."""
_SHORT = 20
"""So many digits are looked at: beyond some thousands of them a number is refused."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

unusual: Callable[[bytes | Raw], re.Match[bytes] | None] = _UNUSUAL.match
"""The first byte of JSON that is no text, or a blank text; None of any other text."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How turns of one format are read."""

    keys: tuple[str, str]
    """Those of who speaks, and what."""
    speakers: Mapping[bytes, Role]
    """By the word, as JSON; for whom there is neither call nor result."""
    more: Callable[[Row, Turn], tuple[float | None, Sequence[Piece]] | None]
    """The weight of a turn whose text is usual, and what follows the text; None where it is a matter of tools.
    Raises like `other`."""
    other: Callable[[Row, Turn], None]
    """Adds any other turn to a row. Raises `Odd` or `KeyError`, or what reading raises."""


class Row:
    """The turns of one row, while they are written."""

    __slots__ = ("_pieces", "_roles", "_untrained", "calls", "gained")

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._roles: list[Role] = []
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

    def speak(self, turns: Sequence[Turn], speech: Speech) -> None:
        """Take all turns."""
        who, what = speech.keys
        role_of, more_of = speech.speakers.get, speech.more
        add, add_role = self._pieces.append, self._roles.append
        for turn in turns:
            role, text = role_of(bytes(turn[who])), turn.get(what)
            if role is None or text is None or unusual(text):
                speech.other(self, turn)
                continue
            more = None
            if len(turn) > 2:
                more = more_of(self, turn)
                if more is None:
                    speech.other(self, turn)
                    continue
                if role == "assistant" and more[0] == 0:
                    self._untrained += 1
            add_role(role)
            add(_TEXT_HEADS[role])
            add(text)
            if more is not None:
                self._pieces += more[1]

    def add(self, role: Role, body: Collection[Piece], *, says: bool = True, weight: float | None = None) -> None:
        """Take a turn; `body` is what follows its role. Raises `Odd` where it is to be learned and says nothing."""
        if weight == 0:
            self._untrained += role == "assistant"
        elif not says and role == "assistant":
            raise Odd
        self._roles.append(role)
        self._pieces.append(_HEADS[role])
        self._pieces += body

    def asked(self) -> Calls:
        """What was asked of tools, for one who asks now or answers."""
        if self.calls is None:
            self.calls = Calls()
        self.calls.move_to(len(self._roles))
        return self.calls

    def line(self, after: Sequence[bytes] = (), functions: Collection[bytes] = ()) -> list[Piece]:
        """The whole line in pieces. `after`: what follows the turns; `functions`: those that may be called, as JSON, if
        any are given. Raises `Odd` where something is to be said about the row.
        """
        roles = self._roles
        if not roles or roles[-1] != "assistant" or roles.count("assistant") == self._untrained:
            raise Odd
        if self.calls is not None:
            self.calls.end(len(roles), functions)
        pieces = self._pieces
        pieces[0] = _FIRST[pieces[0]]
        if after:
            pieces.append(b"}]")
            pieces += after
            pieces.append(b"}\n")
        else:
            pieces.append(b"}]}\n")
        return pieces


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
    if text.count(b"[") + text.count(b"{") > _BRACKETS:
        colons([value], depth=INSIDE)
