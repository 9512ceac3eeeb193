"""ShareGPT: from/value turns, function_call and observation turns, tools as JSON text; ranking and KTO beside them."""

from __future__ import annotations

import difflib
from typing import Any

import msgspec
from msgspec import UNSET

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    FunctionCall,
    Message,
    PreferenceExample,
    Role,
    Tool,
    ToolCall,
    UnpairedPreference,
)
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.formats.messages import (
    CHAT_KEYS,
    ROLE_WORDS,
    arguments,
    extras_of_chat,
    parsed_text,
    system_of,
    turn,
    weight,
)
from finetune_sdk.data.formats.pairs import common
from finetune_sdk.data.formats.rendering import parsed_arguments, switches
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note
from finetune_sdk.data.strict import decode

_SOURCE = "https://github.com/hiyouga/LLaMA-Factory/tree/main/data"

USUAL: dict[str, Role] = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
    "observation": "tool",
    "function_call": "assistant",
}
"""The words a ShareGPT writer uses; others are read, and remembered in `source_role`."""
CALL_WORDS = frozenset(("function_call", "tool_call", "tool_calls"))
TEXT_ROLES: dict[str, Role] = {word: role for word, role in USUAL.items() if word != "function_call"}
_KEYS = (("from", "value"), ("role", "value"))


def _key(row: Object) -> str:
    if "conversations" in row:
        return "conversations"
    return next((key for key in ("conversation", "messages") if key in row), "conversations")


def _turn_keys(items: list[Any] | None) -> tuple[str, str] | None:
    first = as_object(items[0]) if items else None
    return next((pair for pair in _KEYS if first is not None and pair[0] in first and pair[1] in first), None)


def _match(row: Object) -> str | None:
    key = _key(row)
    pair = _turn_keys(as_list(_unpacked(row.get(key))))
    return f"`{key}` holds {pair[0]}/{pair[1]} turns" if pair else None


def _unpacked(value: object) -> object:
    """The turns that a table holds as JSON text (or Python's); anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("[{"):
        return value
    try:
        return parsed_text(value, "")
    except Fault:
        return value


def turns(value: object, path: str) -> list[Message]:
    """A non-empty list of from/value turns. Raises `Fault`."""
    items = as_list(_unpacked(value) if type(value) is str else value)
    if items is None:
        raise Fault("messages-type", path, f"must be a list of turns, this is {type_name(value)}", "Write a list.")
    if not items:
        raise Fault("messages-empty", path, "the list of turns is empty", "Remove the row, or fill it.")
    found: list[Message] = []
    for index, item in enumerate(items):
        given: Object = item  # perhaps; looked at before anything is asked of it
        if type(given) is dict and len(given) == 2 and type(word := given.get("from")) is str:
            role, text = TEXT_ROLES.get(word), given.get("value")
            if role is not None and type(text) is str:
                found.append(Message(role=role, content=text))
                continue
        found.append(_turn(item, f"{path}[{index}]"))
    return found


def _turn(value: object, path: str) -> Message:
    found = as_object(value)
    if found is None:
        raise Fault("message-not-object", path, f"a turn must be an object, this is {type_name(value)}", "Fix it.")
    role_key = "from" if "from" in found else "role"
    if role_key not in found:
        raise Fault("role-missing", path, "no 'from'", "Add who speaks: human or gpt.")
    if not isinstance(found.get("value"), str):
        raise Fault(
            "content-type",
            f"{path}.value",
            f"'value' must be text, this is {type_name(found.get('value'))}",
            "Write it as text.",
        )
    word = found[role_key]
    simple = word.strip().lower().replace("-", "_") if isinstance(word, str) else ""
    fields: dict[str, Any] = {}
    if found.get("weight") is not None:
        fields["weight"] = weight(found["weight"], f"{path}.weight")
    extra = rest(found, role_key, "value", "weight")
    if extra:
        fields["extra"] = extra
    if not isinstance(word, str) or word not in USUAL:
        fields["source_role"] = word
    if simple in CALL_WORDS:
        return Message(role="assistant", tool_calls=function_calls(found["value"], f"{path}.value"), **fields)
    role = role_of(word, simple, f"{path}.{role_key}")
    return Message(role=role, content=found["value"], **fields)


def role_of(word: object, simple: str, path: str) -> Role:
    """Who speaks, from the word and its plain spelling; not for `CALL_WORDS`. Raises `Fault`."""
    known: dict[str, Role] = {**ROLE_WORDS, **USUAL}
    if not isinstance(word, str):
        raise Fault("role-unknown", path, f"the role must be text, this is {type_name(word)}", "Write it as text.")
    role = known.get(simple)
    if role is None:
        close = difflib.get_close_matches(word.lower(), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(USUAL)}"
        raise Fault("role-unknown", path, f"unknown role {word!r}; {hint}", "Rename the role.")
    return role


def function_calls(text: str, path: str) -> list[ToolCall]:
    """The calls of a function_call turn: JSON text of one, or of a list. Raises `Fault`."""
    try:
        value = decode(text.encode())
    except Fault:
        raise Fault("tool-arguments", path, "a function_call must be JSON", 'Write {"name", "arguments"}.') from None
    items = as_list(value)
    calls = [as_object(item) or {} for item in ([value] if items is None else items)]
    found: list[ToolCall] = []
    for call in calls:
        if not isinstance(call.get("name"), str):
            raise Fault("tool-call-type", path, "a function_call needs a name", 'Write {"name", "arguments"}.')
        if "function" in call:
            what = "a function_call has a name or a 'function', not both"
            raise Fault("tool-call-type", path, what, 'Write {"name", "arguments"}.')
        text_of, was_object = arguments(call.get("arguments"), path)
        own_id = call.get("id", UNSET)
        if not (own_id is UNSET or (isinstance(own_id, str) and own_id)):
            what = f"a function_call's id must be text, this is {own_id!r}"
            raise Fault("tool-call-type", path, what, "Write it as text, or leave it out.")
        found.append(
            ToolCall(
                id=own_id,
                type="function",
                function=FunctionCall(name=call["name"], arguments=text_of),
                arguments_object=was_object,
                extra=rest(call, "name", "arguments", "id"),
            )
        )
    return found


def _start(row: Object) -> list[Message]:
    system = system_of(row)
    return [turn("system", system)] if system else []


def _shared(row: Object, note: Note, *known: str) -> dict[str, Any]:
    aside: dict[str, Any] = {"system": "column"} if _start(row) else {}
    if "system" in row and not row["system"]:
        aside["system"] = row["system"]
    if "tools" in row and (not row["tools"] or (isinstance(row["tools"], str) and row["tools"].strip() == "[]")):
        aside["tools"] = row["tools"]
    return {
        **extras_of_chat(row, note),
        "extra": rest(row, _key(row), "system", *known, *CHAT_KEYS),
        "shape": "sharegpt",
        "aside": aside,
    }


def _parse(row: Object, note: Note) -> ChatExample:
    key = _key(row)
    if key not in row:
        raise Fault("field-missing", key, f"{key!r} is missing", "Add the turns.")
    if len(row) == 1:
        return ChatExample(messages=turns(row[key], key), shape="sharegpt")
    return ChatExample(messages=[*_start(row), *turns(row[key], key)], **_shared(row, note))


def _match_preference(row: Object) -> str | None:
    found, sides = _match(row), (row.get("chosen"), row.get("rejected"))
    if found and all(as_object(side) is not None for side in sides):
        return f"{found}, `chosen` and `rejected` turns"
    if found and all(isinstance(side, str | dict) or _turn_keys(as_list(side)) for side in sides):
        return f"{found}, `chosen` and `rejected` answers"
    if _key(row) not in row and "prompt" not in row and all(_turn_keys(as_list(side)) for side in sides):
        return "`chosen` and `rejected` from/value turns, the prompt inside them"
    return None


def _side(row: Object, key: str) -> list[Message]:
    """One answer: a turn, a list of turns, or a text."""
    value = row.get(key)
    if isinstance(value, str):
        return [turn("assistant", value)]
    return [_turn(value, key)] if as_list(value) is None else turns(value, key)


def _way(side: object) -> str:
    """How an answer is written."""
    return "text" if isinstance(side, str) else "list" if isinstance(side, list) else "turn"


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    chosen, rejected = _side(row, "chosen"), _side(row, "rejected")
    shared = _shared(row, note, "chosen", "rejected")
    inside = _key(row) not in row
    if inside:
        prompt = common(chosen, rejected)
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        shared["aside"] = {**shared["aside"], "answers": "inside"}
    else:
        prompt = turns(row.get(_key(row)), _key(row))
        ways = [_way(row.get(key)) for key in ("chosen", "rejected")]
        if ways != ["turn", "turn"]:
            shared["aside"] = {**shared["aside"], "answers": ways[0] if ways[0] == ways[1] else ways}
    for key, answer in (("chosen", chosen), ("rejected", rejected)):
        if not any(message.role == "assistant" for message in answer):
            raise Fault("answer-role", key, "the answer holds no turn of the assistant", "Set its role to gpt.")
    return PreferenceExample(prompt=[*_start(row), *prompt], chosen=chosen, rejected=rejected, **shared)


def _match_unpaired(row: Object) -> str | None:
    found = _match(row)
    tag = next((key for key in ("kto_tag", "label") if isinstance(row.get(key), bool)), None)
    return f"{found}, a true/false `{tag}`" if found and tag else None


def _parse_unpaired(row: Object, note: Note) -> UnpairedPreference:
    tag = "kto_tag" if "kto_tag" in row else "label"
    if not isinstance(row.get(tag), bool):
        raise Fault("label-type", tag, "must be true or false", "Write a boolean.")
    said = [*_start(row), *turns(row.get(_key(row)), _key(row))]
    if said[-1].role != "assistant":
        raise Fault("answer-role", _key(row), "the last turn is not the assistant's", "End with the marked answer.")
    shared = _shared(row, note, tag)
    shared.pop("parallel_tool_calls", None)
    return UnpairedPreference(prompt=said[:-1], completion=said[-1:], label=row[tag], **shared)


def tools_text(tools: list[Tool]) -> str:
    """Tools as this format holds them: JSON text of bare functions."""
    bare = [tool["function"] if set(tool) == {"type", "function"} else tool for tool in tools]
    return msgspec.json.encode(bare).decode()


_WORDS: dict[Role, str] = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
}


def _turn_object(message: Message, *, own: bool) -> Object:
    """`own`: the words of its roles are those of this format's files."""
    word = message.source_role if own else None
    if message.tool_calls:
        calls = [{"name": call.function.name, "arguments": parsed_arguments(call)} for call in message.tool_calls]
        value = msgspec.json.encode(calls[0] if len(calls) == 1 else calls).decode()
        return {"from": word or "function_call", "value": value}
    text = message.text
    if message.reasoning is not None:
        text = f"<think>\n{message.reasoning}\n</think>\n\n{text}"
    return {"from": word or _WORDS[message.role], "value": text}


def _columns(messages: list[Message], example: ChatExample | PreferenceExample | UnpairedPreference) -> Object:
    row: Object = {}
    aside = example.aside
    if aside.get("system") == "column" and messages[0].role == "system":
        row["system"] = messages[0].text
        messages = messages[1:]
    elif "system" in aside:
        row["system"] = aside["system"]
    return {"conversations": [_turn_object(message, own=_own(example)) for message in messages], **row}


def _own(example: ChatExample | PreferenceExample | UnpairedPreference) -> bool:
    return example.shape == "sharegpt"


def _beside(example: ChatExample | PreferenceExample | UnpairedPreference) -> Object:
    row = switches(example)
    row.pop("parallel_tool_calls", None)
    if example.tools:
        row["tools"] = tools_text(example.tools)
    elif "tools" in example.aside:
        row["tools"] = example.aside["tools"]
    return {**row, **example.extra}


def _render(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    return {**_columns(example.messages, example), **_beside(example)}


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    own, given = _own(example), example.aside.get("answers")
    columns = _columns(example.prompt, example)
    start: list[Object] = columns.pop("conversations") if given == "inside" else []
    answers: Object = {}
    ways = as_list(given) or [given, given]
    for key, answer, way in zip(("chosen", "rejected"), (example.chosen, example.rejected), ways, strict=True):
        said = [_turn_object(message, own=own) for message in answer]
        answers[key] = [*start, *said] if way in ("inside", "list") else answer[0].text if way == "text" else said[0]
    return {**columns, **answers, **_beside(example)}


def _render_unpaired(example: Example) -> Object:
    assert isinstance(example, UnpairedPreference), "this format writes marked answers"  # noqa: S101
    said = [*example.prompt, *example.completion]
    return {**_columns(said, example), "kto_tag": example.label, **_beside(example)}


_LOSES = {
    "developer": "written as `system`",
    "weights": "left out: no trainer of this format knows weights",
    "weights-fraction": "left out",
    "weights-elsewhere": "left out",
    "spans": "left out",
    "reasoning": "written into the answer as <think>...</think>",
    "refusal": "left out",
    "name": "left out",
    "result-name": "left out",
    "message-keys": "left out",
    "content-list": "joined to one text",
    "content-null": "written as empty text",
    "tool-call-ids": "left out: results follow their calls",
    "text-beside-calls": "the text is left out",
    "arguments-text": "the arguments are written anew",
    "parallel-tool-calls": "left out",
    "margin": "left out",
    "empty-tools": "left out",
}
_CANNOT = frozenset(("images", "other-parts", "arguments-not-object", "answer-turns"))

FORMATS = (
    Format(
        name="sharegpt",
        kind="chat",
        summary="conversations of from/value turns, tools as JSON text",
        match=_match,
        parse=_parse,
        render=_render,
        loses=_LOSES,
        cannot=_CANNOT,
        reserved=frozenset(("conversations", "conversation", "messages", "system", *CHAT_KEYS)),
        rank=40,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
    Format(
        name="sharegpt-preference",
        kind="preference",
        summary="conversations, then a chosen and a rejected turn",
        match=_match_preference,
        parse=_parse_preference,
        render=_render_preference,
        loses=_LOSES,
        cannot=_CANNOT | {"no-prompt"},
        reserved=frozenset(("conversations", "conversation", "messages", "system", "chosen", "rejected", *CHAT_KEYS)),
        rank=50,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
    Format(
        name="sharegpt-unpaired",
        kind="unpaired",
        summary="conversations whose last turn is marked good or bad",
        match=_match_unpaired,
        parse=_parse_unpaired,
        render=_render_unpaired,
        loses=_LOSES,
        cannot=_CANNOT,
        reserved=frozenset(("conversations", "conversation", "messages", "system", "kto_tag", "label", *CHAT_KEYS)),
        rank=50,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
)
