"""Rows with calls and tools on their way to lines of the `chat` format, decoded once into exact shapes: see `copied`.

Only rows whose keys are all known here, written the usual way. Any other row raises `Odd`, or what decoding raises, and
is looked at turn by turn (`copiedturns`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from finetune_sdk.data.copiedcalls import Odd
from finetune_sdk.data.copiedrow import HEADS, TEXT_HEADS, Piece, as_json, begun, name_as_json, unusual
from finetune_sdk.data.copiedtools import NO_TOOLS, Tools
from finetune_sdk.data.copiedturns import Asked, arguments_as_json, speaker
from finetune_sdk.data.example import Role
from finetune_sdk.data.formats.messages import ROLE_WORDS
from finetune_sdk.data.formats.sharegpt import TEXT_ROLES
from finetune_sdk.data.toolchecks import are_arguments

Written: TypeAlias = tuple[list[Piece], int]
"""A row's line, and how many colons more it has than the row, unless a key comes twice there."""
Write: TypeAlias = Callable[[Any, Callable[[Raw], Tools]], Written]
"""Writes a decoded row, given how to read tools."""

_ABSENT = Raw(b"null")


class _Function(Struct, forbid_unknown_fields=True, gc=False):
    name: Raw
    arguments: Raw


class _Call(Struct, forbid_unknown_fields=True, gc=False):
    function: _Function
    type: Raw
    id: Raw = _ABSENT


class _Said(Struct, forbid_unknown_fields=True, gc=False):
    role: Role
    content: Raw = _ABSENT
    tool_calls: list[_Call] | UnsetType = UNSET
    tool_call_id: Raw = _ABSENT
    name: Raw = _ABSENT


class ChatRow(Struct, forbid_unknown_fields=True, gc=False):
    """A row of chat."""

    messages: list[_Said]
    tools: Raw = _ABSENT


def write_chat(row: ChatRow, tools_of: Callable[[Raw], Tools]) -> Written:
    """The line of a row."""
    after, known, gained = NO_TOOLS if row.tools is _ABSENT else tools_of(row.tools)
    pieces: list[Piece] = []
    waiting: list[bytes] = []
    given: bool | None = None
    made = 0
    role: Role = "system"
    for turn in row.messages:
        role, content, calls, answered = turn.role, turn.content, turn.tool_calls, turn.tool_call_id
        if role == "tool":
            if unusual(content) or calls is not UNSET:
                raise Odd
            pieces += (_RESULT, content, *_named(turn))
            gained += _add_answered(pieces, answered, waiting, given)
            given = answered is not _ABSENT
        elif (waiting and given) or answered is not _ABSENT:
            raise Odd
        elif calls is UNSET:
            if unusual(content):
                raise Odd
            pieces += (TEXT_HEADS[role], content, *_named(turn))
        elif role != "assistant" or not calls or given is (calls[0].id is _ABSENT):
            raise Odd
        else:
            given = calls[0].id is not _ABSENT
            pieces += _beside_calls(content)
            pieces += _named(turn)
            ids = _add_calls(pieces, calls, known, made if not given else None)
            waiting += ids
            if not given:
                made += len(ids)
                gained += len(ids)
    if role != "assistant":
        raise Odd
    return _closed(pieces, after), gained


def _add_answered(pieces: list[Piece], name: Raw, waiting: list[bytes], given: bool | None) -> bool:
    """Write which call a result answers; returns whether that gains a colon. `given`: whether calls had ids so far."""
    if name is not _ABSENT:
        text = bytes(name)
        if not given or text not in waiting:
            raise Odd
        waiting.remove(text)
        pieces += (b',"tool_call_id":', text)
        return False
    if given:
        raise Odd
    if waiting:
        pieces += (b',"tool_call_id":', waiting.pop(0))
        return True
    return False


def _closed(pieces: list[Piece], after: bytes) -> list[Piece]:
    pieces[0] = begun(pieces[0])
    pieces.append(b"}]%b}\n" % after)
    return pieces


_RESULT = TEXT_HEADS["tool"]
_NO_NAME: tuple[Piece, ...] = ()


def _named(turn: _Said) -> tuple[Piece, ...]:
    if turn.name is _ABSENT:
        return _NO_NAME
    if bytes(turn.name)[:1] != b'"':
        raise Odd
    return b',"name":', turn.name


def _beside_calls(content: Raw) -> tuple[Piece, ...]:
    """What begins a turn with calls."""
    if content is _ABSENT:
        return (HEADS["assistant"],)
    odd = unusual(content)
    if odd is not None and odd[0][:1] not in b'"n':
        raise Odd
    return TEXT_HEADS["assistant"], content


def _add_calls(pieces: list[Piece], calls: list[_Call], known: Collection[bytes], made: int | None) -> list[bytes]:
    """Write calls; returns their ids. `made`: how many ids were made before these; None where they have their own."""
    ids: list[bytes] = []
    before = b',"tool_calls":[{"id":'
    for call in calls:
        name, arguments = bytes(call.function.name), bytes(call.function.arguments)
        if made is None:
            id_ = bytes(call.id)
        else:
            made += 1
            id_ = b'"call_%d"' % made if call.id is _ABSENT else b""
        if id_ in ids or (known and name not in known) or call.type != _FUNCTION:
            raise Odd
        if not (id_[:1] == name[:1] == b'"') or id_ == b'""':
            raise Odd
        ids.append(id_)
        if arguments[:1] == b"{":
            arguments = arguments_as_json(arguments, _object.decode(arguments))
        elif not are_arguments(_text.decode(arguments)):
            raise Odd
        pieces += (before, id_, b',"type":"function","function":{"name":', name, b',"arguments":', arguments)
        before = b'}},{"id":'
    pieces.append(b"}}]")
    return ids


class _Turn(Struct, forbid_unknown_fields=True, gc=False):
    said_by: Raw = msgspec.field(name="from")
    value: Raw


class ShareGptRow(Struct, forbid_unknown_fields=True, gc=False):
    """A row of ShareGPT."""

    conversations: list[_Turn]
    tools: Raw = _ABSENT
    system: Raw = _ABSENT


def write_sharegpt(row: ShareGptRow, tools_of: Callable[[Raw], Tools]) -> Written:
    """The line of a row: nobody gives ids here, results follow in order."""
    after, known, gained = NO_TOOLS if row.tools is _ABSENT else tools_of(row.tools)
    pieces: list[Piece] = []
    if row.system is not _ABSENT:
        gained += _system(pieces, row.system)
    role: Role = "system"
    asked = answered = 0
    for turn in row.conversations:
        value = turn.value
        if unusual(value):
            raise Odd
        word = bytes(turn.said_by)
        known_role = _ROLES.get(word) or speaker(word)
        if known_role is None:
            role = "assistant"
            count = _add_asked(pieces, value, asked, known)
            asked += count
            gained += 3 * count
            continue
        role = known_role
        if role == "tool" and answered < asked:
            answered += 1
            gained += 1
            pieces += (_RESULT, value, b',"tool_call_id":"call_%d"' % answered)
        else:
            pieces += (TEXT_HEADS[role], value)
    if role != "assistant":
        raise Odd
    return _closed(pieces, after), gained


def _system(pieces: list[Piece], text: Raw) -> int:
    """Write the prompt beside the turns; returns how many colons it gains."""
    if bytes(text) in (b'""', b"null"):
        return -1
    if unusual(text):
        raise Odd
    pieces += (TEXT_HEADS["system"], text)
    return 1


def _add_asked(pieces: list[Piece], value: Raw, number: int, known: Collection[bytes]) -> int:
    """Write the calls that are described in a text, after so many others; returns how many.

    Each gains three colons, if no key comes twice there.
    """
    text = _text.decode(value)
    asked = _asked.decode(text)
    calls = asked if isinstance(asked, list) else [asked]
    if not calls or "\\u003" in text:  # no calls, or escapes that may hide a colon
        raise Odd
    pieces.append(HEADS["assistant"])
    before = b',"tool_calls":['
    for at, call in enumerate(calls, number + 1):
        name = name_as_json(call.name)
        if known and name not in known:
            raise Odd
        pieces.append(_ASKED % (before, at, name, arguments_as_json(bytes(value), call.arguments)))
        before = b","
    pieces.append(b"]")
    return len(calls)


_ASKED = b'%b{"id":"call_%d","type":"function","function":{"name":%b,"arguments":%b}}'
_ROLES: Mapping[bytes, Role] = {as_json(word): role for word, role in (ROLE_WORDS | TEXT_ROLES).items()}
_text = msgspec.json.Decoder(str)
_FUNCTION = Raw(b'"function"')
_object = msgspec.json.Decoder(dict[str, Any])
_asked: msgspec.json.Decoder[Asked | list[Asked]] = msgspec.json.Decoder(Asked | list[Asked])
