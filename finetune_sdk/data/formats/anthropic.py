"""Anthropic's messages (Claude on Bedrock) and Cohere's: other roles, the system text apart, content blocks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, Example, Message, Part, Role, Tool
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.formats.blocks import (
    BLOCK_CANNOT,
    BLOCK_LOSSES,
    Gathered,
    Wire,
    arguments_of,
    blocks_in,
    grouped,
    joined,
    parts_of,
    schema_in,
    split_system,
    system_blocks,
    text_in,
    tool_fields,
    tool_items,
    tool_object,
    turns,
    unknown_block,
)
from finetune_sdk.data.formats.rendering import image_url
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}
_OWN_BLOCKS = frozenset(("tool_use", "tool_result", "thinking", "redacted_thinking", "document"))
_COHERE: dict[str, Role] = {"System": "system", "User": "user", "Chatbot": "assistant"}


def _match(row: Object) -> str | None:
    if "messages" not in row or "schemaVersion" in row:
        return None
    if isinstance(row.get("system"), str):
        return "`system` beside `messages`"
    for tool in as_list(row.get("tools")) or []:
        if "input_schema" in (as_object(tool) or {}):
            return "`tools` with `input_schema`"
    for message in as_list(row["messages"]) or []:
        said = as_object(message) or {}
        if "role" in said and not _among(said["role"], _ROLES):
            return None
        for block in as_list(said.get("content")) or []:
            found = as_object(block) or {}
            if found.get("type") == "thinking" and not isinstance(found.get("thinking"), str):
                continue  # Mistral's
            if _among(found.get("type"), _OWN_BLOCKS) or (found.get("type") == "image" and "source" in found):
                return f"content blocks of type {found['type']!r}"
    return None


def _among(word: object, words: Collection[str]) -> bool:
    return isinstance(word, str) and word in words


def _sort(block: Object, path: str, into: Gathered) -> None:
    kind = block.get("type")
    if kind == "text":
        text_in(block, "text", path)
        into.parts.append(block)
    elif kind == "tool_use":
        extra = rest(block, "type", "id", "name", "input")
        into.call(path, block.get("name"), block.get("input"), block.get("id"), extra)
    elif kind == "tool_result":
        extra = rest(block, "type", "tool_use_id", "content")
        into.result(path, _result(block.get("content"), path), block.get("tool_use_id"), extra=extra)
    elif kind == "thinking" and isinstance(block.get("thinking"), str):
        into.thought(block["thinking"], rest(block, "type", "thinking"))
    elif kind == "image":
        into.parts.append(_image(block, path))
    elif isinstance(kind, str):
        into.parts.append(block)
    else:
        raise unknown_block(block, path)


def _image(block: Object, path: str) -> Object:
    source = as_object(block.get("source")) or {}
    known: tuple[str, ...] = ("type", "url")
    if source.get("type") == "base64":
        kind, data = (text_in(source, key, f"{path}.source") for key in ("media_type", "data"))
        url, known = f"data:{kind};base64,{data}", ("type", "media_type", "data")
    elif isinstance(source.get("url"), str):
        url = source["url"]
    else:
        what = f"an image's source is base64 data or a url, this has {', '.join(map(repr, source)) or 'nothing'}"
        raise Fault("part-type", f"{path}.source", what, "Write one of them.")
    image = joined({"url": url}, rest(source, *known), f"{path}.source")
    return joined({"type": "image_url", "image_url": image}, rest(block, "type", "source"), path)


def _result(value: Any, path: str) -> str | list[Part]:
    """A tool's answer: one text, or parts in the order they came."""
    items = as_list(value)
    if items is None:
        if value is not None and not isinstance(value, str):
            what = f"a tool's answer is text or blocks, this is {type_name(value)}"
            raise Fault("content-type", f"{path}.content", what, "Write it as text.")
        return value or ""
    blocks = [_result_block(item, f"{path}.content[{index}]") for index, item in enumerate(items)]
    if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
        return str(blocks[0]["text"])
    return blocks


def _result_block(item: object, path: str) -> Part:
    block = as_object(item) or {}
    if not isinstance(block.get("type"), str):
        raise unknown_block(block, path)
    if block["type"] == "text":
        text_in(block, "text", path)
    return _image(block, path) if block["type"] == "image" else block


def _system(value: Any) -> list[Message]:
    if isinstance(value, str):
        return [Message(role="system", content=value)]
    return system_blocks(blocks_in(value, "system"), "system", _sort)


def _tools(value: object) -> list[Tool] | None:
    items = tool_items(value, "tools")
    if items is None:
        return None
    found: list[Tool] = []
    for index, item in enumerate(items):
        tool = tool_object(item, f"tools[{index}]")
        if "input_schema" in tool:
            parameters = schema_in(tool["input_schema"])
            tool = {"type": "function", "function": {**rest(tool, "input_schema"), "parameters": parameters}}
        found.append(tool)
    return found


_WIRE = Wire(_ROLES, "content", _sort)
_COHERE_WIRE = Wire(_COHERE, "content", _sort)


def _parse(row: Object, note: Note) -> ChatExample:
    said = turns(row.get("messages"), "messages", _WIRE, note)
    return ChatExample(
        messages=[*_system(row.get("system")), *said],
        tools=_tools(row.get("tools")),
        extra=rest(row, "system", "messages", "tools"),
    )


def _takes(part: Part) -> bool:
    """Whether a part that is neither text nor image is a block of this format's own."""
    if part.get("type") == "document":
        return as_object(part.get("source")) is not None
    return part.keys() == {"type", "data"} and part["type"] == "redacted_thinking" and isinstance(part["data"], str)


def _block(part: Object) -> Object:
    if part.get("type") != "image_url":
        return part
    url = image_url(part)
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        source: Object = {"type": "base64", "media_type": head.removesuffix(";base64"), "data": data}
    else:
        source = {"type": "url", "url": url}
    return {"type": "image", "source": source}


def _turn(role: Role, messages: list[Message]) -> Object:
    if role == "tool":
        return {"role": "user", "content": [block for message in messages for block in _user_blocks(message)]}
    message = messages[0]
    wire_role = "assistant" if role == "assistant" else "user"
    if isinstance(message.content, str) and not message.tool_calls and message.reasoning is None:
        return {"role": wire_role, "content": message.content}
    blocks: list[Object] = []
    if message.reasoning is not None:
        blocks.append({"type": "thinking", "thinking": message.reasoning, **message.extra})
    blocks += [_block(part) for part in parts_of(message)]
    for call in message.tool_calls or []:
        body: Object = {"id": call.id} if isinstance(call.id, str) else {}
        blocks.append({"type": "tool_use", **body, "name": call.function.name, "input": arguments_of(call)})
    return {"role": wire_role, "content": blocks}


def _user_blocks(message: Message) -> list[Object]:
    """A tool's answer, or what the user says after it."""
    return [_tool_result(message)] if message.role == "tool" else [_block(part) for part in parts_of(message)]


def _tool_result(message: Message) -> Object:
    content: Any = message.content
    if isinstance(content, list):
        content = [_block(part) for part in parts_of(message)]
    elif content is None or content is UNSET:
        content = ""
    return {"type": "tool_result", "tool_use_id": message.tool_call_id or "", "content": content, **message.extra}


def _render(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    system, said = split_system(example.messages)
    row: Object = {}
    if system is not None:
        row["system"] = system[0]["text"] if len(system) == 1 and set(system[0]) == {"type", "text"} else system
    row["messages"] = [_turn(role, group) for role, group in grouped(said, alternate=True)]
    if example.tools:
        row["tools"] = [_tool(tool) for tool in example.tools]
    return {**row, **example.extra}


def _tool(tool: Tool) -> Object:
    function = tool_fields(tool)
    return {**rest(function, "parameters"), "input_schema": function.get("parameters", {})}


def _match_cohere(row: Object) -> str | None:
    items = as_list(row.get("messages"))
    if not items:
        return None
    found = [as_object(item) or {} for item in items]
    known = all(_among(item.get("role"), _COHERE) and "content" in item for item in found)
    return "roles System, User, Chatbot" if known else None


def _parse_cohere(row: Object, note: Note) -> ChatExample:
    said = turns(row.get("messages"), "messages", _COHERE_WIRE, note)
    return ChatExample(messages=said, extra=rest(row, "messages"))


def _render_cohere(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    words: dict[Role, str] = {"system": "System", "developer": "System", "user": "User", "assistant": "Chatbot"}
    said = [{"role": words[message.role], "content": message.text} for message in example.messages]
    return {"messages": said, **example.extra}


_COHERE_LOSSES = {**BLOCK_LOSSES, "tools": "left out", "reasoning": "left out", "content-list": "joined to one text"}

FORMATS = (
    Format(
        name="anthropic",
        kind="chat",
        summary="system beside messages, content blocks: Claude on Bedrock",
        match=_match,
        parse=_parse,
        render=_render,
        loses={**BLOCK_LOSSES, "image-type": "left out"},
        cannot=BLOCK_CANNOT,
        takes=_takes,
        taken='Write a document as {"type": "document", "source": ...}',
        needs_call_ids=True,
        reserved=frozenset(("system", "messages", "tools")),
        rank=50,
        extends="chat",
        aliases=("claude",),
        source="https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html",
        read_on="2026-11-20",
    ),
    Format(
        name="cohere",
        kind="chat",
        summary="messages with the roles System, User and Chatbot",
        match=_match_cohere,
        parse=_parse_cohere,
        render=_render_cohere,
        loses=_COHERE_LOSSES,
        cannot=BLOCK_CANNOT | {"tool-calls", "images"},
        reserved=frozenset(("messages",)),
        rank=50,
        source="https://docs.cohere.com/docs/chat-preparing-the-data",
        read_on="2026-11-20",
    ),
)
