"""Google Vertex AI: Gemini tuning and preference tuning."""

from __future__ import annotations

from typing import Any

import msgspec

from finetune_sdk.data.example import ChatExample, Example, Message, Part, PreferenceExample, Role, Tool
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.formats.blocks import (
    BLOCK_CANNOT,
    BLOCK_LOSSES,
    Gathered,
    Wire,
    arguments_of,
    blocks_in,
    call_names,
    grouped,
    joined,
    json_object,
    only_here,
    parts_of,
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

_SOURCE = "https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare"
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "tool": "user"}
_SYSTEM_KEYS = ("systemInstruction", "system_instruction")


def _either(block: Object, camel: str, snake: str) -> Object | None:
    return as_object(block.get(camel, block.get(snake)))


def _sort(block: Object, path: str, into: Gathered) -> None:
    call = _either(block, "functionCall", "function_call")
    response = _either(block, "functionResponse", "function_response")
    file = _either(block, "fileData", "file_data")
    inline = _either(block, "inlineData", "inline_data")
    if call is not None:
        extra = {**rest(call, "name", "args", "id"), **rest(block, "functionCall", "function_call")}
        into.call(path, call.get("name"), call.get("args"), call.get("id"), extra)
    elif response is not None:
        extra = {**rest(response, "name", "response", "id"), **rest(block, "functionResponse", "function_response")}
        text = _response_text(response.get("response"))
        into.result(path, text, response.get("id"), response.get("name") or None, extra)
    elif isinstance(block.get("text"), str):
        if block.get("thought") is True:
            into.thought(block["text"], rest(block, "text", "thought"))
        else:
            into.parts.append({"type": "text", "text": block["text"], **rest(block, "text")})
    elif file is not None:
        own = rest(file, "fileUri", "file_uri", "mimeType", "mime_type")
        part = _media(_named(file, "fileUri", "file_uri", path), _mime(file, path), path, own)
        into.parts.append(joined(part, rest(block, "fileData", "file_data"), path))
    elif inline is not None:
        mime, data = _mime(inline, path), _named(inline, "data", "data", path)
        own = rest(inline, "data", "mimeType", "mime_type")
        if mime in _SOUNDS:
            sound = joined({"data": data, "format": _SOUNDS[mime]}, own, path)
            media: Part = {"type": "input_audio", "input_audio": sound}
        else:
            media = _media(f"data:{mime};base64,{data}", mime, path, own)
        into.parts.append(joined(media, rest(block, "inlineData", "inline_data"), path))
    else:
        raise unknown_block(block, path)


def _named(block: Object, camel: str, snake: str, path: str) -> str:
    """The text of a file's field, which is never empty. Raises `Fault`."""
    found = text_in(block, snake if camel not in block and snake in block else camel, path)
    if not found:
        raise Fault("part-type", f"{path}.{camel}", f"the file has an empty {camel!r}", "Add it.")
    return found


def _mime(block: Object, path: str) -> str:
    return _named(block, "mimeType", "mime_type", path)


def _media(url: str, mime: str, path: str, own: Object) -> Object:
    if not mime.startswith("image/"):
        return {"type": "file", "file": joined({"url": url, "mime_type": mime}, own, path)}
    image: Object = {"url": url} if url.startswith("data:") else {"url": url, "mime_type": mime}
    return {"type": "image_url", "image_url": joined(image, own, path)}


def _response_text(value: Any) -> str:
    found = as_object(value)
    if found is not None and set(found) == {"output"} and isinstance(found["output"], str):
        return found["output"]
    return msgspec.json.encode(value).decode()


def _system(row: Object, note: Note) -> tuple[list[Message], dict[str, Any]]:
    """The system message, and how the row wrote it where that is not how it is written here."""
    given = [key for key in _SYSTEM_KEYS if row.get(key)]
    if not given:
        return [], {}
    key = given[0]
    if len(given) > 1:
        raise Fault("key-twice", given[1], f"beside {key!r}: only one of them would be read", "Remove one of them.")
    if isinstance(row[key], str):
        return [Message(role="system", content=row[key])], {}
    found = as_object(row[key])
    if found is None:
        what = f"must be an object with 'parts', this is {type_name(row[key])}"
        raise Fault("content-type", key, what, 'Write {"parts": [{"text": ...}]}.')
    beside = rest(found, "parts")
    only_here(rest(beside, "role"), key, note)
    blocks = blocks_in(found.get("parts"), f"{key}.parts")
    aside = {"gemini_system": [key, beside]} if beside or key != _SYSTEM_KEYS[0] else {}
    return (system_blocks(blocks, f"{key}.parts", _sort), aside) if blocks else ([], {})


def _system_object(parts: list[Part], example: ChatExample | PreferenceExample, usual: str) -> Object:
    written: list[Any] | None = example.aside.get("gemini_system")
    key, beside = (usual, Object()) if written is None else written
    return {key: {**beside, "parts": [{"text": part["text"]} for part in parts]}}


def _tools(value: object) -> list[Tool] | None:
    items = tool_items(value, "tools")
    if items is None:
        return None
    found: list[Tool] = []
    for index, item in enumerate(items):
        path = f"tools[{index}]"
        inner = tool_object(item, path)
        if as_object(inner.get("function")) is not None:  # as OpenAI has it
            found.append(inner)
            continue
        for key in _DECLARED:
            functions = tool_items(inner.get(key), f"{path}.{key}") or []
            declared = [tool_object(function, f"{path}.{key}[{at}]") for at, function in enumerate(functions)]
            found += [{"type": "function", "function": _usual_types(function)} for function in declared]
        others = rest(inner, *_DECLARED)
        found += [{"type": name, name: value} for name, value in others.items()]
    return found


_DECLARED = ("functionDeclarations", "function_declarations")
_TYPES = frozenset(("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL"))
"""Google's names of types: JSON Schema, and everybody else, has them in small letters."""


def _usual_types(value: Any) -> Any:
    """A definition with the types of its schemas as JSON Schema names them."""
    items = as_list(value)
    if items is not None:
        return [_usual_types(item) for item in items]
    found = as_object(value)
    return value if found is None else {key: _usual_type(key, item) for key, item in found.items()}


def _usual_type(key: str, value: Any) -> Any:
    named = as_object(value) if key in ("properties", "$defs") else None
    if named is not None:  # the keys are the user's own words
        return {name: _usual_types(item) for name, item in named.items()}
    if key == "type" and isinstance(value, str) and value in _TYPES:
        return value.lower()
    return value if key in ("enum", "default", "example", "description") else _usual_types(value)


def _tool_rows(tools: list[Tool]) -> list[Object]:
    return [{"functionDeclarations": [tool_fields(tool) for tool in tools]}]


def _written_otherwise(row: Object, tools: list[Tool] | None) -> dict[str, Any]:
    """The definitions as the row has them, where they are written anew in other letters or groups."""
    return {"gemini_tools": row["tools"]} if tools and _tool_rows(tools) != row["tools"] else {}


_KEYS = ("contents", "tools", *_SYSTEM_KEYS)


def _match(row: Object) -> str | None:
    return "`contents` of turns with parts" if "contents" in row and "completions" not in row else None


_WIRE = Wire(_ROLES, "parts", _sort)


def _contents_of(row: Object, note: Note) -> list[Message]:
    items = as_list(row.get("contents")) or []
    given = [{"role": "user", **turn} if (turn := as_object(item)) is not None else item for item in items]
    return turns(given, "contents", _WIRE, note)  # a turn without a role is the user's


def _parse(row: Object, note: Note) -> ChatExample:
    start, aside = _system(row, note)
    said = _without_implied_names(_contents_of(row, note))
    tools = _tools(row.get("tools"))
    aside |= _written_otherwise(row, tools)
    return ChatExample(messages=[*start, *said], tools=tools, extra=rest(row, *_KEYS), aside=aside)


def _match_preference(row: Object) -> str | None:
    return "`contents` and scored `completions`" if "contents" in row and "completions" in row else None


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    by_score: dict[int, list[Message]] = {}
    own: list[Object] = [{}, {}]
    for index, item in enumerate(as_list(row.get("completions")) or []):
        found = as_object(item) or {}
        score = found.get("score")
        if isinstance(score, bool) or score not in (0, 1) or int(score) in by_score:
            raise Fault(
                "preference-scores",
                f"completions[{index}].score",
                "there must be exactly one completion with score 1 and one with score 0",
                "Score one 1 and the other 0.",
            )
        own[int(score)] = only_here(rest(found, "score", "completion"), f"completions[{index}]", note)
        path = f"completions[{index}].completion"
        by_score[int(score)] = turns([found.get("completion")], path, _WIRE, note)
    if len(by_score) != 2:
        raise Fault("preference-scores", "completions", "there must be two completions", "Score one 1, the other 0.")
    start, aside = _system(row, note)
    if any(own):
        aside["vertex_completions"] = own
    return PreferenceExample(
        prompt=[*start, *_contents_of(row, note)],
        aside=aside,
        chosen=by_score[1],
        rejected=by_score[0],
        extra=rest(row, "contents", "completions", *_SYSTEM_KEYS),
    )


def _part_object(part: Object) -> Object:
    if part.get("type") == "text":
        return {"text": part["text"]}
    if part["type"] == "input_audio":
        sound = part["input_audio"]
        return {"inlineData": {"mimeType": f"audio/{sound['format']}", "data": sound["data"]}}
    if part["type"] == "file":
        return _media_object(part["file"]["url"], part["file"]["mime_type"])
    url = image_url(part)
    usual = f"image/{'png' if url.lower().endswith('.png') else 'jpeg'}"
    return _media_object(url, part["image_url"].get("mime_type") or usual)


def _media_object(url: str, mime: str) -> Object:
    if url.startswith("data:"):
        head, _, data = url[5:].partition(",")
        return {"inlineData": {"mimeType": head.removesuffix(";base64"), "data": data}}
    return {"fileData": {"mimeType": mime, "fileUri": url}}


_SOUNDS = {f"audio/{kind}": kind for kind in ("wav", "mp3")}
"""What OpenAI's chat calls `input_audio`, by its media type."""


def _takes(part: Part) -> bool:
    """Whether a part that is neither text nor image reads back the same, and is nothing but data, or an address."""
    kind = part.get("type")
    inner = as_object(part.get(kind)) if kind in ("file", "input_audio") and len(part) == 2 else None
    if inner is None or not all(isinstance(value, str) and value for value in inner.values()):
        return False
    if kind == "input_audio":
        return inner.keys() == {"data", "format"} and inner["format"] in _SOUNDS.values()
    if inner.keys() != {"url", "mime_type"} or inner["mime_type"].startswith("image/"):
        return False
    head = f"data:{inner['mime_type']};base64,"
    return not inner["url"].startswith("data:") or (inner["url"].startswith(head) and inner["mime_type"] not in _SOUNDS)


_TAKEN = (
    'Write a file as {"type": "file", "file": {"url": ..., "mime_type": ...}}, its data as a data: URL, '
    "and sound as `input_audio` of wav or mp3"
)


def _content(role: Role, messages: list[Message], names: dict[str, str]) -> Object:
    parts: list[Object] = []
    for message in messages:
        if role == "tool":
            parts.append(_function_response(message, names))
            continue
        if message.reasoning is not None:
            parts.append({"text": message.reasoning, "thought": True})
        parts += [_part_object(part) for part in parts_of(message)]
        for call in message.tool_calls or []:
            body: Object = {"id": call.id} if isinstance(call.id, str) else {}
            parts.append({"functionCall": {**body, "name": call.function.name, "args": arguments_of(call)}})
    return {"role": "model" if role == "assistant" else "user", "parts": parts}


def _function_response(message: Message, names: dict[str, str]) -> Object:
    found = json_object(message.text)
    response: Object = {"id": message.tool_call_id} if message.tool_call_id is not None else {}
    name = message.name or names.get(message.tool_call_id or "")
    if name:
        response["name"] = name
    body = {"output": message.text} if found is None or set(found) == {"output"} else found
    return {"functionResponse": {**response, "response": body}}


def _without_implied_names(messages: list[Message]) -> list[Message]:
    """Tool results without the name that their call has too: the format repeats it, nobody said it twice."""
    names = call_names(messages)
    return [
        msgspec.structs.replace(message, name=None)
        if message.role == "tool" and message.name is not None and names.get(message.tool_call_id or "") == message.name
        else message
        for message in messages
    ]


def _contents(messages: list[Message]) -> list[Object]:
    names = call_names(messages)
    return [_content(role, group, names) for role, group in grouped(messages)]


def _render(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    system, said = split_system(example.messages)
    row: Object = _system_object(system, example, "systemInstruction") if system is not None else {}
    row["contents"] = _contents(said)
    if example.tools:
        given: object = example.aside.get("gemini_tools")
        row["tools"] = given if _tools(given) == example.tools else _tool_rows(example.tools)
    return {**row, **example.extra}


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    system, said = split_system(example.prompt)
    row: Object = _system_object(system, example, "system_instruction") if system is not None else {}
    row["contents"] = _contents(said)
    own: list[Object] = example.aside.get("vertex_completions") or [{}, {}]
    bad, good = own
    row["completions"] = [
        {"score": 1, "completion": _contents(example.chosen)[0], **good},
        {"score": 0, "completion": _contents(example.rejected)[0], **bad},
    ]
    return {**row, **example.extra}


_LOSSES = {**BLOCK_LOSSES, "name": "written on tool results only", "result-name": "always written"}

FORMATS = (
    Format(
        name="gemini",
        kind="chat",
        summary="contents of turns with parts: Vertex AI",
        match=_match,
        parse=_parse,
        render=_render,
        loses=_LOSSES,
        cannot=BLOCK_CANNOT | {"result-parts"},
        takes=_takes,
        taken=_TAKEN,
        needs_call_ids=True,
        reserved=frozenset((*_KEYS, "completions")),
        rank=60,
        aliases=("vertex",),
        source=_SOURCE,
        read_on="2026-11-20",
    ),
    Format(
        name="vertex-preference",
        kind="preference",
        summary="contents and two scored completions: Vertex AI",
        match=_match_preference,
        parse=_parse_preference,
        render=_render_preference,
        loses=_LOSSES,
        cannot=BLOCK_CANNOT | {"result-parts", "no-prompt", "tools", "tool-calls", "images", "answer-turns"},
        reserved=frozenset((*_KEYS, "completions")),
        rank=60,
        source="https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-use-preference-tuning",
        read_on="2026-11-20",
    ),
)
