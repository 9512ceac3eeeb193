"""Amazon Bedrock's Converse form, as Nova is tuned on it. (Its prompt/completion form is `prompt-completion`.)"""

from __future__ import annotations

from typing import Any

import msgspec

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
    turns,
    unknown_block,
)
from finetune_sdk.data.formats.rendering import image_url
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

SCHEMA = "bedrock-conversation-2024"
_TYPO = "bedrock-conversion-2024"  # AWS's own page spells it so in one place
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant"}
_BLOCKS = frozenset(("text", "image", "video", "toolUse", "toolResult", "reasoningContent", "document"))


RESERVED = frozenset(("schemaVersion", "system", "messages", "toolConfig"))


def _match(row: Object) -> str | None:
    last = as_object((as_list(row.get("messages")) or [None])[-1]) or {}
    if "candidates" in last:
        return None
    if isinstance(row.get("schemaVersion"), str) and "messages" in row:
        return f"`schemaVersion` {row['schemaVersion']!r}"
    block = _first_block(row)
    return "content blocks without a type" if "type" not in block and _BLOCKS & block.keys() else None


def _first_block(row: Object) -> Object:
    first = as_object((as_list(row.get("messages")) or [None])[0]) or {}
    return as_object((as_list(first.get("content")) or [None])[0]) or {}


def _sort(block: Object, path: str, into: Gathered) -> None:
    kind = block.get("type")
    if isinstance(kind, str) and kind in block:  # as Llama's rows have it
        block = rest(block, "type")
    image, call = as_object(block.get("image")), as_object(block.get("toolUse"))
    result, thought = as_object(block.get("toolResult")), as_object(block.get("reasoningContent"))
    if isinstance(block.get("text"), str):
        into.parts.append({"type": "text", "text": block["text"], **rest(block, "text")})
    elif call is not None:
        extra = joined(rest(call, "name", "input", "toolUseId"), _given(rest(block, "toolUse")), path)
        into.call(path, call.get("name"), call.get("input"), call.get("toolUseId"), extra)
    elif result is not None:
        content, kind = _result(result, path)
        extra = joined(rest(result, "toolUseId", "content"), _given(rest(block, "toolResult")), path)
        into.result(path, content, result.get("toolUseId"), extra=extra)
        if kind:
            into.results[-1] = msgspec.structs.replace(into.results[-1], spelling={"content": kind})
    elif thought is not None:
        text = as_object(thought.get("reasoningText")) or {}
        said = text_in(text, "text", f"{path}.reasoningContent.reasoningText") if text else ""
        own = joined(rest(text, "text"), rest(thought, "reasoningText"), path)
        into.thought(said, joined(own, _given(rest(block, "reasoningContent")), path))
    elif image is not None:
        into.parts.append(joined(_image(image, path), _given(rest(block, "image")), path))
    else:
        into.parts.append(_other(_given(block), path))


def _other(block: Object, path: str) -> Part:
    """A block of which only the name is known."""
    if "text" in block:
        text_in(block, "text", path)
    if len(block) != 1 or not set(block) <= _BLOCKS:
        raise unknown_block(block, path)
    [(name, value)] = block.items()
    return {"type": name, name: value}


def _given(found: Object) -> Object:
    """What is not null: tables fill objects with the keys of the column's others."""
    return {key: value for key, value in found.items() if value is not None}


def _image(image: Object, path: str) -> Object:
    source = as_object(image.get("source")) or {}
    place = as_object(source.get("s3Location")) or {}
    kind = text_in({"format": "png", **image}, "format", f"{path}.image")
    beside = _given(rest(image, "format", "source"))
    if isinstance(place.get("uri"), str):
        own = joined({"url": place["uri"], "mime_type": f"image/{kind}"}, rest(place, "uri"), path)
        beside = joined(beside, _given(rest(source, "s3Location")), path)
        return {"type": "image_url", "image_url": joined(own, beside, path)}
    if isinstance(source.get("bytes"), str):
        url = f"data:image/{kind};base64,{source['bytes']}"
        beside = joined(beside, _given(rest(source, "bytes")), path)
        return {"type": "image_url", "image_url": joined({"url": url}, beside, path)}
    raise Fault("part-type", path, "an image needs a source", 'Write {"s3Location": {"uri": ...}}.')


def _result(result: Object, path: str) -> tuple[str | list[Part], str]:
    """A tool's answer, and "json" where it is one object and no text."""
    blocks = [as_object(item) or {} for item in blocks_in(result.get("content"), f"{path}.toolResult.content")]
    if len(blocks) == 1 and set(blocks[0]) == {"text"} and isinstance(blocks[0]["text"], str):
        return blocks[0]["text"], ""
    if len(blocks) == 1 and set(blocks[0]) == {"json"}:
        return _json(blocks[0]["json"]), "json"
    inside = Gathered()
    for block in blocks:
        if set(block) == {"json"}:
            inside.text(_json(block["json"]))
        else:
            _sort(block, path, inside)
    if inside.calls or inside.results or inside.reasoning:
        what = "a tool's answer holds texts, JSON, images and files, this one also a call, an answer or reasoning"
        raise Fault("content-type", f"{path}.toolResult.content", what, "Remove the block.")
    return inside.parts or "", ""


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _tools(row: Object) -> list[Tool] | None:
    config = as_object(row.get("toolConfig"))
    if config is None:
        if row.get("toolConfig") is not None:
            what = f"must be an object with 'tools', this is {type_name(row['toolConfig'])}"
            raise Fault("tools-type", "toolConfig", what, "Write an object.")
        return None
    found: list[Tool] = []
    for item in tool_items(config.get("tools"), "toolConfig.tools") or []:
        path = f"toolConfig.tools[{len(found)}]"
        spec = as_object((as_object(item) or {}).get("toolSpec"))
        if spec is None:
            what = f"a tool without 'toolSpec'; it has {', '.join(map(repr, as_object(item) or {})) or 'nothing'}"
            raise Fault("tools-type", path, what, "Remove it.")
        schema = _alone(spec.get("inputSchema"), "json", f"{path}.toolSpec.inputSchema")
        _alone(item, "toolSpec", path)
        function = {**rest(spec, "inputSchema"), "parameters": schema_in(schema.get("json", {}))}
        found.append({"type": "function", "function": function})
    return found


def _alone(value: object, key: str, path: str) -> Object:
    """An object that may hold nothing but one key. Raises `Fault`."""
    found = as_object(value)
    if found is None and value is not None:
        raise Fault("tools-type", path, f"must be an object with {key!r}, this is {type_name(value)}", "Fix it.")
    other = next(iter(_given(rest(found or {}, key))), None)
    if other is not None:
        raise Fault(
            "tools-type", f"{path}.{other}", f"holds {key} and nothing else, this one also {other!r}", "Remove it."
        )
    return found or {}


def _beside_tools(row: Object) -> Object:
    """What the tool configuration holds beside the tools, such as which one to choose."""
    beside = rest(as_object(row.get("toolConfig")) or {}, "tools")
    other = next((key for key in beside if key != "toolChoice"), None)
    if other is not None:
        what = f"holds tools and toolChoice, this one also {other!r}"
        raise Fault("tools-type", f"toolConfig.{other}", what, "Remove it.")
    return beside


WIRE = Wire(_ROLES, "content", _sort)


def parse_converse(row: Object, note: Note) -> ChatExample:
    """A row's conversation. Raises `Fault`."""
    if row.get("schemaVersion") == _TYPO:
        note("schema-version", "schemaVersion", f"{_TYPO!r} is read as {SCHEMA!r}", f"Write {SCHEMA!r}.")
    elif row.get("schemaVersion") not in (SCHEMA, None):
        what = f"{row['schemaVersion']!r} is not {SCHEMA!r}; it is kept"
        note("schema-version", "schemaVersion", what, f"Write {SCHEMA!r} unless the service said otherwise.")
    start = system_blocks(blocks_in(row.get("system"), "system"), "system", _sort)
    return ChatExample(
        messages=[*start, *turns(row.get("messages"), "messages", WIRE, note)],
        tools=_tools(row),
        extra={**rest(row, "schemaVersion", "system", "messages", "toolConfig"), **_beside_tools(row)},
        aside=_written_otherwise(row),
    )


def _written_otherwise(row: Object) -> dict[str, Any]:
    aside: dict[str, Any] = {}
    if row.get("schemaVersion") not in (SCHEMA, _TYPO, None):
        aside["schemaVersion"] = row["schemaVersion"]
    if "type" in _first_block(row):
        aside["typed"] = True
    return aside


def takes(part: Part) -> bool:
    """Whether a part that is neither text nor image is a film or a document as this format has them."""
    kind = part.get("type")
    inner = as_object(part.get(kind)) if kind in ("video", "document") and part.keys() == {"type", kind} else None
    return inner is not None and isinstance(inner.get("format"), str) and as_object(inner.get("source")) is not None


TAKEN = 'Write a film or document as {"type": "video", "video": {"format": ..., "source": {"s3Location": ...}}}'


def _block(part: Object) -> Object:
    if part.get("type") == "text":
        return {"text": part["text"]}
    if part.get("type") != "image_url":
        kind = str(part["type"])
        return {kind: part[kind]}
    url = image_url(part)
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return {"image": {"format": head.removesuffix(";base64").rpartition("/")[2], "source": {"bytes": data}}}
    mime = str(part["image_url"].get("mime_type") or f"image/{url.rpartition('.')[2]}")
    kind = mime.rpartition("/")[2].replace("jpg", "jpeg")
    owner = {key: part["image_url"][key] for key in ("bucketOwner",) if key in part["image_url"]}
    return {"image": {"format": kind, "source": {"s3Location": {"uri": url, **owner}}}}


def _turn(role: Role, messages: list[Message]) -> Object:
    blocks: list[Object] = []
    for message in messages:
        if message.role == "tool":
            result = {"toolUseId": message.tool_call_id or "", "content": _answer(message)}
            blocks.append({"toolResult": {**result, **message.extra}})
            continue
        if message.reasoning is not None:
            blocks.append({"reasoningContent": {"reasoningText": {"text": message.reasoning}}})
        blocks += [_block(part) for part in parts_of(message)]
        for call in message.tool_calls or []:
            body = {"toolUseId": call.id if isinstance(call.id, str) else "", "name": call.function.name}
            blocks.append({"toolUse": {**body, "input": arguments_of(call)}})
    return {"role": "assistant" if role == "assistant" else "user", "content": blocks}


def _answer(message: Message) -> list[Object]:
    """A tool's answer as content blocks."""
    if message.spelling.get("content") == "json":
        return [{"json": msgspec.json.decode(message.text)}]
    return [_block(part) for part in parts_of(message)] or [{"text": message.text}]


def render_converse(example: Example) -> Object:
    """The row of a conversation."""
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    system, said = split_system(example.messages)
    row: Object = {"schemaVersion": example.aside.get("schemaVersion") or SCHEMA}
    if system is not None:
        row["system"] = [{"text": part["text"]} for part in system]
    row["messages"] = [_turn(role, group) for role, group in grouped(said, alternate=True)]
    if example.aside.get("typed"):
        for said_at_once in row["messages"]:
            said_at_once["content"] = [{"type": next(iter(block)), **block} for block in said_at_once["content"]]
    extra = example.extra
    if example.tools:
        row["toolConfig"] = {"tools": [{"toolSpec": _tool_spec(tool)} for tool in example.tools]}
        if "toolChoice" in extra:
            row["toolConfig"]["toolChoice"] = extra["toolChoice"]
            extra = rest(extra, "toolChoice")
    return {**row, **extra}


def _tool_spec(tool: Tool) -> Object:
    function = tool_fields(tool)
    return {**rest(function, "parameters"), "inputSchema": {"json": function.get("parameters", {})}}


FORMATS = (
    Format(
        name="bedrock-converse",
        kind="chat",
        summary="schemaVersion, system and messages of content blocks: Amazon Nova",
        match=_match,
        parse=parse_converse,
        render=render_converse,
        loses=BLOCK_LOSSES,
        cannot=BLOCK_CANNOT,
        takes=takes,
        taken=TAKEN,
        needs_call_ids=True,
        reserved=RESERVED,
        rank=60,
        aliases=("bedrock", "nova"),
        source="https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html",
        read_on="2026-11-20",
    ),
)
