"""One row on its way to a line of the `chat` format, its texts copied as they stand: see `copied`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from msgspec import Raw

from finetune_sdk.data.copiedcalls import Calls, Odd
from finetune_sdk.data.example import ROLES, Role
from finetune_sdk.data.jsonvalue import colons
from finetune_sdk.data.marks import BLANK

Turn: TypeAlias = dict[str, Raw]

_ROW = b'{"messages":['
_HEADS: Mapping[Role, bytes] = {role: b'},{"role":"%b"' % role.encode() for role in ROLES}
"""What begins a turn, and ends the one before it."""
_TEXT_HEADS: Mapping[Role, bytes] = {role: head + b',"content":' for role, head in _HEADS.items()}
_UNUSUAL = re.compile(rb'[^"]|"' + BLANK + rb'*"')
_BRACKETS = 58
"""So many open at most as many levels, and a value of a turn is no more than five levels below its row."""
_AS_IT_IS = frozenset((b'"', b"n", b"t", b"f"))
"""What a value begins with that is written one way only."""
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()

unusual: Callable[[bytes], object] = _UNUSUAL.match
"""Whether JSON is no text, or a blank one."""


@dataclass(frozen=True, slots=True)
class Speech:
    """How turns of one format are read."""

    usual: tuple[str, str]
    """The keys of a turn that holds nothing but who speaks and what."""
    speakers: Mapping[bytes, Role]
    """By the word, as JSON; for whom there is neither call nor result."""
    other: Callable[[Row, Turn], None]
    """Adds any other turn to a row. Raises `Odd` or `KeyError`, or what reading raises."""


class Row:
    """The turns of one row, while they are written."""

    __slots__ = ("_lines", "_roles", "_trains", "calls", "gained")

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._roles: list[Role] = []
        self._trains = False
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
            self._roles.append("system")
            self._lines += (_TEXT_HEADS["system"], text)

    def speak(self, turns: Sequence[Turn], speech: Speech) -> None:
        """Take all turns."""
        usual, speakers, other = speech.usual, speech.speakers, speech.other
        lines, roles = self._lines, self._roles
        for turn in turns:
            if tuple(turn) == usual:
                word, said = turn.values()
                role = speakers.get(bytes(word))
                text = bytes(said)
                if role is not None and not unusual(text):
                    roles.append(role)
                    lines += (_TEXT_HEADS[role], text)
                    if role == "assistant":
                        self._trains = True
                    continue
            other(self, turn)

    def add(self, role: Role, body: Collection[bytes], *, says: bool = True, weight: float | None = None) -> None:
        """Take a turn; `body` is what follows its role. Raises `Odd` where it is to be learned and says nothing."""
        if role == "assistant" and weight != 0:
            if not says:
                raise Odd
            self._trains = True
        self._roles.append(role)
        self._lines.append(_HEADS[role])
        self._lines += body

    def asked(self) -> Calls:
        """What was asked of tools, for one who asks now or answers."""
        if self.calls is None:
            self.calls = Calls()
        self.calls.move_to(len(self._roles))
        return self.calls

    def line(self, after: bytes, functions: Collection[bytes]) -> bytes:
        """The whole line. `after`: what follows the turns; `functions`: those that may be called, as JSON, if any are
        given. Raises `Odd` where something is to be said about the row.
        """
        if not self._trains or self._roles[-1] != "assistant":
            raise Odd
        if self.calls is not None:
            self.calls.end(len(self._roles), functions)
        lines = self._lines
        lines[0] = _ROW + lines[0][2:]
        lines += (b"}]", after, b"}\n")
        return b"".join(lines)


def value_of(text: bytes) -> bytes:
    """JSON as we write it, from that of a value without odd escapes. Keys that come twice in it are lost."""
    if text[:1] in _AS_IT_IS:
        return text
    value = _decoder.decode(text)
    flat(text, value)
    return _encoder.encode(value)


def flat(text: bytes, value: object) -> None:
    """Raises `RecursionError` where the value of a row may be nested too deeply."""
    if text.count(b"[") + text.count(b"{") > _BRACKETS:
        colons([[[[[value]]]]])
