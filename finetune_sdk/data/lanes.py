"""The fast way for plain rows: whole chunks decoded into exact shapes. Whatever is not plain goes the general way.

A lane never decides what is right: it takes only rows that the general way would turn into the same thing, and gives
up on a chunk at the slightest doubt (a key it does not know, a duplicated key, a blank line, anything malformed).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from finetune_sdk.data.example import ChatExample, Message, Role, Source
from finetune_sdk.data.formats.sharegpt import function_calls
from finetune_sdk.data.jsonvalue import Object
from finetune_sdk.data.readers import Chunk
from finetune_sdk.data.report import Fault

_GIVE_UP_AFTER = 3
"""Chunks in a row without success after which a file goes the general way for good."""


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    said_by: str = msgspec.field(name="from")
    value: str


class _ShareGpt(Struct, forbid_unknown_fields=True, gc=False):
    conversations: list[_Turn]


class _Said(Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str
    weight: int | float | UnsetType = UNSET


class _Chat(Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Said]


_SHAREGPT: dict[str, Role] = {"human": "user", "gpt": "assistant", "system": "system", "observation": "tool"}
_CHAT: dict[str, Role] = {role: role for role in ("system", "developer", "user", "assistant", "tool")}


def _sharegpt_example(row: _ShareGpt, source: Source) -> ChatExample | None:
    messages: list[Message] = []
    for turn in row.conversations:
        role = _SHAREGPT.get(turn.said_by)
        if role is not None:
            messages.append(Message(role=role, content=turn.value))
        elif turn.said_by == "function_call":
            try:
                calls = function_calls(turn.value, "")
            except Fault:  # the general way says where
                return None
            messages.append(Message(role="assistant", tool_calls=calls))
        else:
            return None
    return ChatExample(messages=messages, shape="sharegpt", source=source) if messages else None


def _chat_example(row: _Chat, source: Source) -> ChatExample | None:
    messages: list[Message] = []
    for said in row.messages:
        role = _CHAT.get(said.role)
        if role is None or said.weight is not UNSET:
            return None
        messages.append(Message(role=role, content=said.content))
    return ChatExample(messages=messages, source=source) if messages else None


def _sharegpt_keys(rows: list[_ShareGpt]) -> int:
    return sum([1 + 2 * len(row.conversations) for row in rows])


def _chat_keys(rows: list[_Chat]) -> int:
    return sum([1 + sum([2 + (said.weight is not UNSET) for said in row.messages]) for row in rows])


Take: TypeAlias = Callable[[Any, Source], Any]
"""The finished thing for a plain row, None for a row that is not plain."""


@dataclass(frozen=True, slots=True)
class Lane:
    """How plain rows of one format are decoded, and turned into what is wanted."""

    decoder: msgspec.json.Decoder[Any]
    take: Take
    keys: Callable[[Any], int]
    """How many JSON keys the rows must have held: more means duplicates."""


READ: dict[str, Lane] = {
    "sharegpt": Lane(msgspec.json.Decoder(_ShareGpt), _sharegpt_example, _sharegpt_keys),
    "chat": Lane(msgspec.json.Decoder(_Chat), _chat_example, _chat_keys),
}
"""Rows to examples, by format."""


class Express:
    """One file's trip through a lane."""

    def __init__(self, lane: Lane, file: str) -> None:
        self._lane = lane
        self._file = file
        self._failures = 0

    def rows(self, first: int, chunk: Chunk, *, tight: bool) -> Iterator[tuple[int, Any, Object | None]] | None:
        """Each row's line, and the finished thing or else its JSON object. None = the chunk is not for this lane.

        `tight`: every key has its colon beside it.
        """
        if not tight or self._failures >= _GIVE_UP_AFTER:
            return None
        decoded = self._decoded(chunk)
        if decoded is None:
            self._failures += 1
            return None
        self._failures = 0
        return self._finished(first, decoded)

    def _decoded(self, chunk: Chunk) -> list[Any] | None:
        try:
            decode = self._lane.decoder.decode
            rows: list[Any] = [decode(line) for line in chunk.lines]  # not `decode_lines`: one row on each line
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        wanted, seen = self._lane.keys(rows), chunk.data.count(b'":')
        if wanted != seen and wanted != seen - chunk.data.count(b'\\":'):
            return None
        return rows

    def _finished(self, first: int, rows: list[Any]) -> Iterator[tuple[int, Any, Object | None]]:
        take, file = self._lane.take, self._file
        for line, row in enumerate(rows, first):
            done = take(row, Source(file, line))
            yield line, done, None if done is not None else msgspec.to_builtins(row)
