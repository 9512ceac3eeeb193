"""The quick way for rows of the usual kinds: lines decoded into exact shapes, examples made of those.

A lane never decides what is right: it takes only rows that the general way would turn into the same examples, and hands
back the line of any other (a key it does not know, a fault). Keys that come twice are told by colons: see `colons`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.structs import force_setattr

from finetune_sdk.data.chunked import Chunk
from finetune_sdk.data.example import (
    ChatExample,
    FunctionCall,
    Message,
    Role,
    SharedTools,
    Source,
    ToolCall,
)
from finetune_sdk.data.formats.messages import CHAT_KEYS, NO_TOOLS, Speakers, content_parts, tools
from finetune_sdk.data.formats.sharegpt import TEXT_ROLES, function_calls
from finetune_sdk.data.jsonvalue import INSIDE, colons
from finetune_sdk.data.report import Fault
from finetune_sdk.data.strict import decode, hides_colons

_GIVE_UP_AFTER = 3
"""Chunks in a row with mostly odd rows after which a file goes the general way for good."""
_MANY, _SHORT = 256, 8192
"""How many lists of tools are remembered, and up to how many bytes each."""


class Odd(Exception):
    """This row goes the general way. Internal."""


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    said_by: str = msgspec.field(name="from")
    value: str
    weight: int | float | UnsetType = UNSET


class _ShareGpt(Struct, forbid_unknown_fields=True, gc=False):
    conversations: list[_Turn]


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: str
    arguments: str


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    type: str
    function: _Function
    id: str | UnsetType = UNSET


class _Said(Struct, forbid_unknown_fields=True, gc=False):
    role: Role
    content: str | list[Any] | UnsetType | None = UNSET
    name: str | UnsetType = UNSET
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    weight: int | float | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class _Chat(Struct, forbid_unknown_fields=True, gc=False):
    messages: list[_Said]


Taken: TypeAlias = tuple[ChatExample, int]
"""An example, and how many colons its row holds unless a key comes twice."""


@dataclass(slots=True)
class _Beside:
    """What stands beside the turns of a row."""

    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    tools: SharedTools | None = None
    system: str | None = None
    colons: int = 0


def _sharegpt(turns: list[_Turn], beside: _Beside) -> Taken:
    said: list[Message] | None = None
    weights = len(turns) - [turn.weight for turn in turns].count(UNSET)
    texts = [turn.value for turn in turns]
    if not weights:
        said = _SHAREGPT.texts([turn.said_by for turn in turns], texts)
    if said is None:
        said = [_turn(turn) for turn in turns]
    if not said:
        raise Odd
    aside: dict[str, Any] = {}
    if beside.system is not None:
        said = [Message(role="system", content=beside.system), *said]
        aside["system"] = "column"
    count = 1 + 2 * len(turns) + weights + sum([text.count(":") for text in texts]) + beside.colons
    return ChatExample(messages=said, tools=beside.tools, shape="sharegpt", extra=beside.extra, aside=aside), count


def _chat(turns: list[_Said], beside: _Beside) -> Taken:
    contents = [turn.content for turn in turns]
    said: list[Message] | None = None
    count = 1 + 2 * len(turns)
    if all(map(_is_bare, turns)):
        said = _CHAT.texts([turn.role for turn in turns], contents)
    if said is None:
        said = []
        for turn in turns:
            message, more = _message(turn)
            said.append(message)
            count += more
    if not said:
        raise Odd
    count += sum([content.count(":") for content in contents if type(content) is str]) + beside.colons
    return ChatExample(messages=said, tools=beside.tools, extra=beside.extra), count


_SHAREGPT = Speakers({word: role for word, role in TEXT_ROLES.items() if role != "tool"})
_CHAT = Speakers({role: role for role in NO_TOOLS})


def _turn(turn: _Turn) -> Message:
    weight = None if turn.weight is UNSET else turn.weight
    role = TEXT_ROLES.get(turn.said_by)
    if role is not None:
        return Message(role=role, content=turn.value, weight=weight)
    if turn.said_by == "function_call":
        return Message(role="assistant", tool_calls=function_calls(turn.value, ""), weight=weight)
    raise Odd


def _is_bare(turn: _Said) -> bool:
    return (
        turn.tool_calls is UNSET
        and turn.name is UNSET
        and turn.weight is UNSET
        and turn.tool_call_id is UNSET
        and turn.reasoning_content is UNSET
    )


def _message(turn: _Said) -> tuple[Message, int]:
    """The message, and the colons it has beside those of its role and a text."""
    content, calls = turn.content, None
    count = 0
    if type(content) is not str:
        if isinstance(content, list):
            count += colons(content, depth=INSIDE)
            content = content_parts(content, "")
        elif content is UNSET:
            if turn.role != "assistant" or turn.tool_calls is UNSET:
                raise Odd
            count -= 1
        elif turn.role != "assistant":
            raise Odd
    if turn.tool_calls is not UNSET:
        calls = [_call(call) for call in turn.tool_calls]
        count += 1 + sum(map(_colons_of_call, turn.tool_calls))
    found = [None if text is UNSET else text for text in (turn.name, turn.tool_call_id, turn.reasoning_content)]
    for text in found:
        if text is not None:
            count += 1 + text.count(":")
    weight = None if turn.weight is UNSET else turn.weight
    count += weight is not None
    message = Message(
        role=turn.role,
        content=content,
        name=found[0],
        tool_calls=calls,
        tool_call_id=found[1],
        weight=weight,
        reasoning=found[2],
    )
    return message, count


def _call(call: _Call) -> ToolCall:
    function = call.function
    return ToolCall(id=call.id, type=call.type, function=FunctionCall(function.name, function.arguments))


def _colons_of_call(call: _Call) -> int:
    function = call.function
    count = 4 + call.type.count(":") + function.name.count(":") + function.arguments.count(":")
    return count if call.id is UNSET else count + 1 + call.id.count(":")


@dataclass(frozen=True, slots=True)
class Lane:
    """How rows of one format are decoded, and made into examples."""

    turns: str
    """The key of the turns."""
    row: msgspec.json.Decoder[Any]
    """Of rows that hold nothing else."""
    list: msgspec.json.Decoder[Any]
    """Of the turns."""
    take: Callable[[Any, _Beside], Taken]
    system: bool
    """Whether a system prompt may stand beside the turns."""


READ: Mapping[str, Lane] = {
    "sharegpt": Lane(
        "conversations", msgspec.json.Decoder(_ShareGpt), msgspec.json.Decoder(list[_Turn]), _sharegpt, system=True
    ),
    "chat": Lane("messages", msgspec.json.Decoder(_Chat), msgspec.json.Decoder(list[_Said]), _chat, system=False),
}
"""By format."""
_fields = msgspec.json.Decoder(dict[str, Raw])
_NOT_EXTRA = frozenset(("conversations", "conversation", "messages", "system", *CHAT_KEYS))


class Express:
    """One file's trip through a lane."""

    def __init__(self, lane: Lane, file: str) -> None:
        self._lane = lane
        self._turns = attrgetter(lane.turns)
        self._file = file
        self._failures = 0
        self._beside = False
        """Whether the last row held more than turns."""
        self._tools: dict[bytes, tuple[SharedTools, int]] = {}

    def rows(self, first: int, chunk: Chunk, *, clean: bool) -> Iterator[tuple[int, ChatExample | None, bytes]] | None:
        """Each row's line, and its example or else None, with its bytes. None = the chunk is not for this lane.

        `clean`: see `strict.decode_lines`.
        """
        if self._failures >= _GIVE_UP_AFTER or not (clean or not hides_colons(chunk.data)):
            return None
        wanted = seen = 0
        found: list[ChatExample | None] = []
        for line in chunk.lines:
            try:
                example, count = self._taken(line)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Fault, Odd):
                seen -= line.count(b":")
                found.append(None)
                continue
            wanted += count
            found.append(example)
        self._failures = self._failures + 1 if 2 * found.count(None) > len(found) else 0
        return self._placed(first, chunk, found) if wanted == seen + chunk.data.count(b":") else None

    def _taken(self, line: bytes) -> Taken:
        lane = self._lane
        if not self._beside:
            try:
                return lane.take(self._turns(lane.row.decode(line)), _Beside())
            except msgspec.ValidationError:
                pass
        fields = _fields.decode(line)
        self._beside = len(fields) > 1
        beside = _Beside()
        for key, raw in fields.items():
            if key == lane.turns:
                continue
            if key not in _NOT_EXTRA:
                beside.extra[key] = value = _json.decode(raw)
                beside.colons += 1 + key.count(":") + colons([value], depth=INSIDE)
            elif key == "tools":
                beside.tools, count = self._shared(bytes(raw))
                beside.colons += 1 + count
            elif key == "system" and lane.system:
                beside.system = _text.decode(raw)
                beside.colons += 1 + beside.system.count(":")
            else:
                raise Odd
        if lane.turns not in fields or beside.system == "":
            raise Odd
        return lane.take(lane.list.decode(fields[lane.turns]), beside)

    def _shared(self, text: bytes) -> tuple[SharedTools, int]:
        found = self._tools.get(text)
        if found is None:
            value = decode(text)
            read = tools(value, "tools")
            if not read or (isinstance(value, str) and not self._lane.system):
                raise Odd
            found = SharedTools(read), colons([value], depth=INSIDE)
            if len(text) < _SHORT and len(self._tools) < _MANY:
                self._tools[text] = found
        return found

    def _placed(
        self, first: int, chunk: Chunk, found: list[ChatExample | None]
    ) -> Iterator[tuple[int, ChatExample | None, bytes]]:
        for line, example, text in zip(range(first, first + len(found)), found, chunk.lines, strict=True):
            if example is not None:
                force_setattr(example, "source", Source(self._file, line))  # nobody has seen it yet
            yield line, example, text


_json = msgspec.json.Decoder()
_text = msgspec.json.Decoder(str)
