"""What Gemini, Bedrock and Anthropic share: content blocks, a system text apart, tool results in user turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from finetune_sdk.data.example import FunctionCall, Message, Part, Role, Tool, ToolCall
from finetune_sdk.data.formats.messages import weight
from finetune_sdk.data.formats.rendering import parsed_arguments
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note
from finetune_sdk.data.strict import diagnose


@dataclass(slots=True)
class Gathered:
    """One wire turn while its blocks are sorted: text and images, calls, reasoning, tool results."""

    parts: list[Part] = field(default_factory=list[Part])
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    results: list[Message] = field(default_factory=list[Message])
    reasoning: list[str] = field(default_factory=list[str])
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    own: dict[str, Any] = field(default_factory=dict[str, Any])
    """Keys of the reasoning's own, such as a signature."""
    left_out: list[str] = field(default_factory=list[str])
    """Such keys in which several blocks of reasoning differ."""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])

    def sizes(self) -> tuple[int, int, int, int]:
        """How many results, pieces of reasoning, parts and calls: kept in this order, whatever the wire's order."""
        return len(self.results), len(self.reasoning), len(self.parts), len(self.calls)

    def text(self, text: str) -> None:
        self.parts.append({"type": "text", "text": text})

    def thought(self, text: str, own: Object) -> None:
        """Reasoning, with keys of its own such as a signature: of several blocks only what they have in common."""
        kept = self.own if self.reasoning else own
        self.own = {key: value for key, value in kept.items() if own.get(key) == value}
        self.left_out = [*self.left_out, *(key for key in {**kept, **own} if key not in self.own)]
        self.reasoning.append(text)

    def call(self, path: str, name: object, arguments: object, call_id: object, extra: Object | None = None) -> None:
        if not isinstance(name, str):
            what = f"a call needs the function's name, this is {type_name(name)}"
            raise Fault("tool-call-type", path, what, "Write the name.")
        text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments or {}).decode()
        if arguments is not None and as_object(arguments) is None and json_object(text) is None:
            what = f"arguments must be an object here, this is {type_name(arguments)}"
            raise Fault("tool-arguments", path, what, "Write an object.")
        self.calls.append(
            ToolCall(
                id=UNSET if call_id is None else _said(call_id, path, "the id"),
                type="function",
                function=FunctionCall(name=name, arguments=text),
                arguments_object=not isinstance(arguments, str),
                extra=extra or {},
            )
        )

    def result(
        self, path: str, content: str | list[Part], call_id: object, name: object = None, extra: Object | None = None
    ) -> None:
        self.results.append(
            Message(
                role="tool",
                content=content,
                tool_call_id=None if call_id is None else _said(call_id, path, "the id"),
                name=None if name is None else _said(name, path, "the name"),
                extra=extra or {},
            )
        )

    def messages(self, role: Role, *, as_text: bool) -> Iterator[Message]:
        """The turn's messages: tool results first, then what the speaker says.

        A turn of results only has the keys of its own in the last one. Raises `Fault` where both have the same.
        """
        if not (self.parts or self.calls or self.reasoning) and self.results:
            yield from self.results[:-1]
            yield self._last_result()
            return
        yield from self.results
        fields: dict[str, Any] = {**self.fields, "role": role, "content": self._content(as_text=as_text)}
        if self.calls:
            fields["tool_calls"] = self.calls
        if self.reasoning:
            fields["reasoning"] = "".join(self.reasoning)
        yield Message(**fields, extra={**self.extra, **self.own})

    def _last_result(self) -> Message:
        result = self.results[-1]
        extra = joined(result.extra, self.extra, None)
        return msgspec.structs.replace(result, extra=extra, **self.fields)

    def _content(self, *, as_text: bool) -> Any:
        if not self.parts:
            return UNSET if self.calls else ""
        if as_text and len(self.parts) == 1 and set(self.parts[0]) == {"type", "text"}:
            return self.parts[0]["text"]
        return self.parts


def _said(value: object, path: str, what: str) -> str:
    if not isinstance(value, str):
        raise Fault("tool-call-type", path, f"{what} must be text, this is {type_name(value)}", "Write it as text.")
    return value


def joined(own: Object, beside: Object, path: str | None) -> Object:
    """Keys of two objects that are read as one. Raises `Fault` for a key that both have: one would be lost."""
    twice = next((key for key in beside if key in own), None)
    if twice is not None:
        what = f"the key {twice!r} has another meaning in what is read as one object with it"
        raise Fault("key-twice", path, what, "Remove or rename the key.")
    return {**own, **beside}


def only_here(keys: Object, path: str, note: Note) -> Object:
    """Keys that are kept for rows of their own format only, which is said."""
    if keys:
        first = next(iter(keys))
        note("key-only-here", f"{path}.{first}", f"{first!r} has a place in this format only: others leave it out", "")
    return keys


def text_in(block: Object, key: str, path: str) -> str:
    """The text under a key of a block. Raises `Fault` where there is none."""
    value = block.get(key)
    if not isinstance(value, str):
        what = f"{key!r} must be text, this is {type_name(value)}" if key in block else f"{key!r} is missing"
        raise Fault("part-type", f"{path}.{key}", what, "Write a text.")
    return value


Sort = Callable[[Object, str, Gathered], None]
"""Puts one block where it belongs. Raises `Fault` for a block it does not know."""


class Wire(NamedTuple):
    """How a format writes turns."""

    roles: Mapping[str, Role]
    key: str
    """Where a turn has its text or blocks."""
    sort: Sort


def turns(value: object, path: str, wire: Wire, note: Note) -> list[Message]:
    """The messages of a list of turns."""
    items = as_list(value)
    if not items:
        raise Fault("messages-empty", path, "must be a non-empty list of turns", "Fill it, or remove the row.")
    found: list[Message] = []
    for index, item in enumerate(items):
        found += _turn(item, f"{path}[{index}]", wire, note)
    return found


def _turn(value: object, path: str, wire: Wire, note: Note) -> list[Message]:
    roles, key, sort = wire
    row = as_object(value)
    if row is None:
        raise Fault("message-not-object", path, f"a turn must be an object, this is {type_name(value)}", "Fix it.")
    word = row.get("role")
    if not isinstance(word, str) or word not in roles:
        raise Fault(
            "role-unknown", f"{path}.role", f"unknown role {word!r}; known are {', '.join(roles)}", "Rename it."
        )
    content = row.get(key)
    beside: dict[str, Any] = {name: item for name, item in row.items() if name not in ("role", key)}
    fields: dict[str, Any] = {}
    if beside.get("weight") is not None:
        fields["weight"] = weight(beside.pop("weight"), f"{path}.weight")
    if isinstance(content, str):
        return [Message(role=roles[word], content=content, extra=beside, **fields)]
    blocks = as_list(content)
    if blocks is None:
        raise Fault(
            "content-type", f"{path}.{key}", f"expected text or blocks, this is {type_name(content)}", "Write blocks."
        )
    gathered = Gathered(extra=beside, fields=fields)
    for index, block in enumerate(blocks):
        inner = as_object(block)
        if inner is None:
            raise Fault("part-type", f"{path}.{key}[{index}]", "a block must be an object", "Fix the block.")
        before = gathered.sizes()
        sort(inner, f"{path}.{key}[{index}]", gathered)
        if _came_late(before, gathered.sizes()):
            text = "the block is read as if it stood before: tools' results first, then reasoning, text, calls"
            note("block-order", f"{path}.{key}[{index}]", text, "")
    if len(gathered.reasoning) > 1:
        lost = ", ".join(map(repr, dict.fromkeys(gathered.left_out)))
        what = "several blocks of reasoning are read as one" + (f", without their {lost}" if lost else "")
        note("reasoning-joined", f"{path}.{key}", what, "")
    return list(gathered.messages(roles[word], as_text=True))


def _came_late(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether something was added after what is kept behind it."""
    return any(new > old and any(before[at + 1 :]) for at, (old, new) in enumerate(zip(before, after, strict=True)))


def unknown_block(block: Object, path: str) -> Fault:
    return Fault(
        "part-type",
        path,
        f"unknown block with {', '.join(map(repr, list(block)[:3])) or 'nothing'}",
        "Remove the block.",
    )


def grouped(messages: list[Message], *, alternate: bool = False) -> Iterator[tuple[Role, list[Message]]]:
    """Wire turns: tool results travel together, in a turn of the user.

    `alternate`: what the user says right after them travels in the same turn, so that the roles take turns.
    """
    pending: list[Message] = []
    for message in messages:
        if message.role == "tool" or (alternate and message.role == "user" and pending):
            pending.append(message)
            if message.role == "user":
                yield "tool", pending
                pending = []
            continue
        if pending:
            yield "tool", pending
            pending = []
        yield message.role, [message]
    if pending:
        yield "tool", pending


def call_names(messages: list[Message]) -> dict[str, str]:
    """The function's name per call id: results in some formats carry the name."""
    return {
        call.id: call.function.name
        for message in messages
        for call in message.tool_calls or []
        if isinstance(call.id, str)
    }


def parts_of(message: Message) -> list[Part]:
    """The content as parts; no part for absent, null or (beside calls) empty text."""
    if isinstance(message.content, str):
        return [{"type": "text", "text": message.content}] if message.content or not message.tool_calls else []
    return list(message.content) if isinstance(message.content, list) else []


def blocks_in(value: object, path: str) -> list[Any]:
    """The blocks of a list; none where there is nothing. Raises `Fault` for what is no list."""
    items = as_list(value)
    if items is None and value is not None:
        what = f"must be a list of blocks, this is {type_name(value)}"
        raise Fault("content-type", path, what, 'Write [{"text": ...}].')
    return items or []


def tool_items(value: object, path: str) -> list[Any] | None:
    """Tool definitions, which tables hold as the text of a list; None where there are none. Raises `Fault`."""
    given = value
    if isinstance(value, str) and value.strip():
        try:
            given = diagnose(value.encode())
        except (Fault, UnicodeEncodeError):
            given = value
    items = as_list(given)
    if items is None and value not in (None, ""):
        raise Fault("tools-type", path, f"must be a list of tools, this is {type_name(given)}", "Write a list.")
    return items


def tool_object(item: object, path: str) -> Object:
    """A tool definition. Raises `Fault` for what is no object."""
    found = as_object(item)
    if found is None:
        raise Fault("tools-type", path, f"a tool is an object, this is {type_name(item)}", "Fix the tool.")
    return found


def system_blocks(blocks: list[Any], path: str, sort: Sort) -> list[Message]:
    """The system message of blocks: one plain text, or text parts as they are. Raises `Fault` for others."""
    if not blocks:
        return []
    gathered = Gathered()
    for index, block in enumerate(blocks):
        inner = as_object(block)
        if inner is None or not isinstance(inner.get("text"), str):
            raise unknown_block(inner or {}, f"{path}[{index}]")
        sort(inner, f"{path}[{index}]", gathered)
    return [msgspec.structs.replace(message, role="system") for message in gathered.messages("system", as_text=True)]


def split_system(messages: list[Message]) -> tuple[list[Part] | None, list[Message]]:
    """The text parts of a leading system message, and the rest."""
    if messages and messages[0].role in ("system", "developer"):
        content = messages[0].content
        parts = content if isinstance(content, list) else [{"type": "text", "text": messages[0].text}]
        return parts, messages[1:]
    return None, messages


def tool_fields(tool: Tool) -> Object:
    """A tool's name, description and parameters."""
    return as_object(tool.get("function")) or {}


def json_object(text: str) -> Object | None:
    """The object a tool result's text holds, None if it is another text."""
    try:
        return as_object(diagnose(text.encode()))
    except (Fault, UnicodeEncodeError):
        return None


def schema_in(value: Any) -> Any:
    """A schema, which tables hold as JSON text: Arrow would fill it with the keys of the column's others."""
    return (json_object(value) or value) if isinstance(value, str) else value


def arguments_of(call: ToolCall) -> Object:
    """A call's arguments as an object."""
    return parsed_arguments(call)


BLOCK_LOSSES = {
    "developer": "written as the system text",
    "weights": "left out",
    "weights-fraction": "left out",
    "weights-elsewhere": "left out",
    "spans": "left out",
    "refusal": "left out",
    "name": "left out",
    "result-name": "left out",
    "message-keys": "left out",
    "content-list": "a single text part is not told from plain text",
    "content-null": "written as empty content",
    "arguments-text": "the arguments are written anew",
    "image-detail": "left out",
    "parallel-tool-calls": "left out",
    "template-kwargs": "left out",
    "margin": "left out",
    "empty-tools": "left out",
    "tool-calls-without-ids": "a result of no call is written with an empty id",
}
BLOCK_CANNOT = frozenset(
    ("system-later", "system-parts", "arguments-not-object", "other-parts", "no-user", "other-tools")
)
