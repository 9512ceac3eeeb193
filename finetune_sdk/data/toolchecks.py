"""Checks on tool use in a conversation: calls, their results, and what `tools` defines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from finetune_sdk.data.example import Message, SharedTools, Tool
from finetune_sdk.data.jsonvalue import MAX_DEPTH, Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault
from finetune_sdk.data.strict import diagnose
from finetune_sdk.types import Finding, Severity

_Type: TypeAlias = Literal["object", "array", "string", "number", "integer", "boolean", "null"]
_SCHEMA_TYPES = frozenset(("object", "array", "string", "number", "integer", "boolean", "null"))
_FEW = 3  # faults told of one schema


def check_tools(messages: list[Message], tools: list[Tool] | None) -> Iterator[Finding]:
    """Everything worth knowing about the tool use of one conversation."""
    yield from _definitions(tools or [])
    if any(message.tool_calls or message.role == "tool" for message in messages):
        yield from _calls(messages, {tool_name(tool) for tool in tools or []})
        yield from _results(messages)


def _definitions(tools: list[Tool]) -> Sequence[Finding]:
    if isinstance(tools, SharedTools) and tools.told is not None:
        return tools.told
    told = tuple(finding for index, tool in enumerate(tools) for finding in _definition(tool, f"tools[{index}]"))
    if isinstance(tools, SharedTools):
        tools.told = told
    return told


def _found(rule: str, severity: Severity, path: str, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, path=path)


def _calls(messages: list[Message], known: set[str]) -> Iterator[Finding]:
    for index, message in enumerate(messages):
        if not message.tool_calls:
            continue
        ids = Counter([call.id for call in message.tool_calls if isinstance(call.id, str)])
        for at, call in enumerate(message.tool_calls):
            path = f"messages[{index}].tool_calls[{at}]"
            yield from _arguments(call.function.arguments, f"{path}.function.arguments")
            if known and call.function.name not in known:
                what = f"calls {call.function.name!r}, which `tools` does not define"
                fix = "Define the tool, or rename the call."
                yield _found("tool-unknown", "warning", f"{path}.function.name", what, fix)
            if isinstance(call.id, str) and ids.pop(call.id, 0) > 1:
                what = f"two calls of one turn have the id {call.id!r}: their results cannot be told apart"
                yield _found("tool-call-id-twice", "error", f"{path}.id", what, "Give each call an id of its own.")


def _results(messages: list[Message]) -> Iterator[Finding]:
    """Results pair with calls by id; where a source has no ids, by order, and nothing can be said here."""
    asked: set[str] = set()
    waiting: dict[str, str] = {}
    answered: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            path, name = f"messages[{index}].tool_call_id", message.tool_call_id
            if name is not None and name not in asked:
                what = f"answers {name!r}, which no call before it asked"
                yield _found("tool-result-orphan", "warning", path, what, "Give the call that id.")
            elif name is not None and name in answered:
                what = f"answers {name!r} a second time"
                yield _found("tool-result-twice", "warning", path, what, "Remove one of the results.")
            answered.add(name or "")
            waiting.pop(name or next(iter(waiting), ""), None)  # without an id it answers the first open call
            continue
        yield from _unanswered(waiting)
        waiting = {
            call.id: f"messages[{index}].tool_calls[{at}]"
            for at, call in enumerate(message.tool_calls or [])
            if isinstance(call.id, str)
        }
        asked |= waiting.keys()
        answered -= waiting.keys()


def _unanswered(waiting: dict[str, str]) -> Iterator[Finding]:
    for name, path in waiting.items():
        what = f"the call {name!r} has no result before the next turn"
        yield _found("tool-call-unanswered", "warning", path, what, "Add the tool's result.")


def tool_name(tool: Tool) -> str:
    """What calls name it."""
    return str((as_object(tool.get("function")) or {}).get("name"))


class _Schema(Struct, gc=False):
    """A usual one."""

    type: _Type | list[_Type] | None = None
    properties: dict[str, _Schema | bool | None] = {}
    definitions: dict[str, _Schema | bool | None] = msgspec.field(name="$defs", default_factory=dict[str, Any])
    required: list[str] = []
    items: _Schema | bool | None = None


class _Function(Struct, gc=False):
    name: Annotated[str, Meta(min_length=1)]
    parameters: _Schema | None = None


class _Tool(Struct, gc=False):
    function: _Function


_tools = msgspec.json.Decoder(list[_Tool])


def functions_of(tools: bytes) -> Sequence[str] | None:
    """What calls name these tools, which are JSON: told fast, where nothing is to be said about any.

    None where something may be.
    """
    try:
        return [tool.function.name for tool in _tools.decode(tools)]
    except (msgspec.MsgspecError, RecursionError):
        return None


def are_arguments(text: str) -> bool:
    """Whether nothing is to be said about the arguments of a call."""
    return (len(text) < _SHORT and _is_object(text)) or next(_arguments(text, ""), None) is None


def _is_object(text: str) -> bool:
    """Whether it is JSON of an object, told fast; some that are, are not told."""
    try:
        value = as_object(_decoder.decode(text))
        if value is None or text.count("[") + text.count("{") > _FLAT:
            return False
        count = text.count(":")  # one for each key, and those in texts: more than are left where a key came twice
        return len(value) == count or ("\\u003" not in text and _encode(value).count(b":") == count)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False


_decoder = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
_FLAT = MAX_DEPTH // 2  # so many brackets are not nested too deeply
_SHORT = 4000  # no number in it can have too many digits for Python


def _arguments(text: str, path: str) -> Iterator[Finding]:
    if len(text) < _SHORT and _is_object(text):
        return
    try:
        value = diagnose(text.encode())
    except Fault as fault:
        what = f"the arguments are not valid JSON: {fault.message}"
        yield _found("tool-arguments", "error", path, what, "Write a JSON object.")
        return
    except UnicodeEncodeError:
        what = "the arguments hold half an emoji: a lone surrogate, which is no character"
        yield _found("tool-arguments", "error", path, what, "Remove it, or write U+FFFD in its place.")
        return
    if isinstance(value, str):
        yield _found(
            "tool-arguments-double", "error", path, "the arguments are encoded as JSON twice", "Encode them once."
        )
    elif not isinstance(value, dict):
        yield _found("tool-arguments", "error", path, "the arguments are no JSON object", "Write a JSON object.")


def _definition(tool: Tool, path: str) -> Iterator[Finding]:
    function = as_object(tool.get("function"))
    if function is None:
        if tool.get("type") == "function":
            fix = 'Write {"type": "function", "function": {"name", "parameters"}}.'
            yield _found("tools-schema", "warning", path, "the tool has no function", fix)
        return  # other kinds are for their providers to judge
    faults = [*_schema_faults(function.get("parameters"), f"{path}.function.parameters")][:_FEW]
    if not isinstance(function.get("name"), str) or not function["name"]:
        faults.insert(0, (f"{path}.function.name", "the tool has no name"))
    for at, what in faults:
        yield _found("tools-schema", "warning", at, what, "Write a JSON Schema; providers refuse another one.")


def _schema_faults(value: object, path: str) -> Iterator[tuple[str, str]]:
    """(place, what) for what no reader of JSON Schema takes."""
    if value is None:
        return
    schema = as_object(value)
    if schema is None:
        yield path, f"the schema must be an object, this is {type_name(value)}"
        return
    yield from _type_faults(schema.get("type"), f"{path}.type")
    for key in ("properties", "$defs"):
        inner = as_object(schema.get(key, {}))
        if inner is None:
            yield f"{path}.{key}", f"must be an object, this is {type_name(schema[key])}"
        for name, part in (inner or {}).items():
            if not isinstance(part, bool):
                yield from _schema_faults(part, f"{path}.{key}.{name}")
    yield from _required_faults(schema, path)
    if isinstance(schema.get("items"), dict):
        yield from _schema_faults(schema["items"], f"{path}.items")


def _type_faults(given: object, path: str) -> Iterator[tuple[str, str]]:
    listed = as_list(given)
    for word in [given] if listed is None else listed:
        known = word is None or (isinstance(word, str) and word.lower() in _SCHEMA_TYPES)  # Gemini writes OBJECT
        if not known:
            yield path, f"{word!r} is no type of JSON Schema: {', '.join(sorted(_SCHEMA_TYPES))}"


def _required_faults(schema: Object, path: str) -> Iterator[tuple[str, str]]:
    required = schema.get("required", [])
    names = as_list(required)
    if names is None or not all(isinstance(name, str) for name in names):
        yield f"{path}.required", "must be a list of names"
