"""Shapes of their own in which well-known datasets are published: read, never written."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, FunctionCall, Message, PreferenceExample, Role, Tool, ToolCall
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.messages import tools as tools_of
from finetune_sdk.data.formats.messages import turn
from finetune_sdk.data.formats.sharegpt import function_calls
from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fault, Note

_TALK_KEYS = ("conversations", "conversation", "dialog", "dialogue", "utterances", "turns", "messages", "data")


def _talk(row: Object) -> tuple[str, list[Any]] | None:
    """The key with texts that speak in turn, or with pairs of input and output."""
    for key in _TALK_KEYS:
        items = as_list(row.get(key)) or []
        texts = len(items) > 1 and all(isinstance(item, str) for item in items)
        if texts or (items and all(_is_exchange(item) for item in items)):
            return key, items
    return None


def _is_exchange(value: Any) -> bool:
    found = as_object(value) or {}
    return isinstance(found.get("input"), str) and isinstance(found.get("output"), str)


def _match_turns(row: Object) -> str | None:
    found = _talk(row)
    if found is None:
        return None
    what = "texts, the user's and the assistant's in turn" if isinstance(found[1][0], str) else "inputs and outputs"
    return f"`{found[0]}` lists {what}"


def _parse_turns(row: Object, _note: Note) -> ChatExample:
    found = _talk(row)
    if found is None:
        what = "no list of texts, or of input and output"
        raise Fault("field-type", None, what, f"Write one under {', '.join(_TALK_KEYS[:3])}, or remove the row.")
    key, items = found
    if isinstance(items[0], str):
        said = list(items)
    else:
        said = [text for item in items for text in (item["input"], item["output"])]
    roles: tuple[Role, Role] = ("user", "assistant")
    messages = [turn(roles[index % 2], text) for index, text in enumerate(said)]
    return ChatExample(messages=messages, extra=rest(row, key), shape="turns")


_SPEAKER = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
_END = "<|endoftext|>"
_CALL = re.compile(r'\s*\{\s*"name":\s*"([^"]+)",\s*"arguments":\s*(.*)\}\s*', re.DOTALL)
_OFFER = re.compile(r"\s+with access to the following functions\b.*", re.DOTALL)
_GLAIVE_ROLES: dict[str, Role] = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}


def _match_glaive(row: Object) -> str | None:
    chat = row.get("chat")
    if not isinstance(row.get("system"), str) or not isinstance(chat, str):
        return None
    return "`chat` of USER: and ASSISTANT: beside `system`" if chat.lstrip().startswith("USER:") else None


def _parse_glaive(row: Object, note: Note) -> ChatExample:
    system = need_text(row, "system").removeprefix("SYSTEM:").strip()
    pieces = _SPEAKER.split(need_text(row, "chat"))
    if pieces[0].strip() or len(pieces) < 3:
        raise Fault("messages-type", "chat", "does not begin with 'USER:'", "Write who speaks, or remove the row.")
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    messages = [_said(word, text, index) for index, (word, text) in enumerate(said)]
    tools = _offered(system)
    if tools:
        system = f"{_OFFER.sub('', system)}."
        note("tools-in-text", "system", "the functions in the system text are read as tools", "")
    start = [turn("system", system)] if system else []
    return ChatExample(messages=[*start, *messages], tools=tools or None, extra=rest(row, "system", "chat"))


def _said(word: str, text: str, index: int) -> Message:
    text = text.strip().removesuffix(_END).strip()
    before, mark, call = text.partition("<functioncall>")
    if not mark:
        return turn(_GLAIVE_ROLES[word], text)
    found = _CALL.fullmatch(call)
    given = found[2].strip() if found else ""
    if given[:1] == given[-1:] == "'":
        given = given[1:-1].replace("\\'", "'")
    try:
        usable = isinstance(json.loads(given), dict)
    except ValueError:
        usable = False
    if found is None or not usable:
        raise Fault("tool-arguments", f"chat turn {index + 1}", "the function call is not JSON", "Remove the row.")
    function = FunctionCall(name=found[1], arguments=given)
    calls = [ToolCall(id=UNSET, type="function", function=function)]
    return Message(role="assistant", content=before.strip() or UNSET, tool_calls=calls)


def _offered(system: str) -> list[Tool]:
    """The definitions that a system text holds one after another."""
    if _OFFER.search(system) is None:
        return []
    found: list[Tool] = []
    at = system.find("{")
    while at >= 0:
        try:
            value, at = json.JSONDecoder().raw_decode(system, at)
        except ValueError:
            raise Fault("tools-type", "system", "a function's definition is no JSON", "Remove the row.") from None
        found.append({"type": "function", "function": value})
        at = system.find("{", at)
    return found


_PYTHON_TYPES = {
    "string": ("str", "string"),
    "integer": ("int", "integer"),
    "number": ("float", "number"),
    "boolean": ("bool", "boolean"),
    "array": ("list", "array", "tuple", "set"),
    "object": ("dict", "object"),
}
"""JSON Schema's types, each with the words that are read as it."""


def _match_query(row: Object) -> str | None:
    answers = row.get("answers")
    text = isinstance(answers, str) and answers.lstrip().startswith("[")
    if isinstance(row.get("query"), str) and "tools" in row and (text or isinstance(answers, list)):
        return "`query`, `tools`, and calls as `answers`"
    return None


def _parse_query(row: Object, note: Note) -> ChatExample:
    answers = row.get("answers")
    calls = function_calls(answers if isinstance(answers, str) else json.dumps(answers), "answers")
    if not calls:
        raise Fault("target-empty", "answers", "no call: nothing to learn", "Remove the row.")
    tools = tools_of(row.get("tools"), "tools")
    if tools is not None:
        tools = [_with_schema(tool, note) for tool in tools]
    messages = [turn("user", need_text(row, "query")), Message(role="assistant", tool_calls=calls)]
    return ChatExample(messages=messages, tools=tools, extra=rest(row, "query", "answers", "tools"))


def _with_schema(tool: Tool, note: Note) -> Tool:
    """A definition whose parameters are a JSON Schema, where it lists them by name with Python's types."""
    function = as_object(tool.get("function")) or {}
    given = as_object(function.get("parameters"))
    if given is None or "properties" in given or not all(as_object(item) is not None for item in given.values()):
        return tool
    note("tools-schema", "tools", "parameters with Python's types are read as a JSON Schema", "")
    named = {name: as_object(item) or {} for name, item in given.items()}
    schema: Object = {"type": "object", "properties": {name: _property(item) for name, item in named.items()}}
    required = [
        name for name, item in named.items() if "default" not in item and "optional" not in str(item.get("type"))
    ]
    if required:
        schema["required"] = required
    return {**tool, "function": {**function, "parameters": schema}}


def _property(given: Object) -> Object:
    word = re.match(r"\w*", str(given.get("type", "")).lower())
    known = next((kind for kind, words in _PYTHON_TYPES.items() if word and word[0] in words), None)
    return {**({"type": known} if known else {}), **rest(given, "type")}


def _match_squad(row: Object) -> str | None:
    answers = as_object(row.get("answers"))
    texts = isinstance(row.get("context"), str) and isinstance(row.get("question"), str)
    return "`context`, `question`, and `answers` with texts" if texts and answers and "text" in answers else None


def _parse_squad(row: Object, _note: Note) -> ChatExample:
    answers = as_list((as_object(row.get("answers")) or {}).get("text")) or []
    first = answers[0] if answers else None
    if not isinstance(first, str) or not first:
        what = "the question has no answer in its context"
        raise Fault("answer-missing", "answers.text", what, "Write the answer you want, or `finetune data fix --drop`.")
    asked = f"{need_text(row, 'context')}\n\n{need_text(row, 'question')}"
    extra = rest(row, "context", "question")
    return ChatExample(messages=[turn("user", asked), turn("assistant", first)], extra=extra)


_HH_TURN = re.compile(r"\n\n(Human|Assistant):[ ]?")


def _hh_turns(text: str, path: str) -> list[Message]:
    pieces = _HH_TURN.split(text)
    if pieces[0].strip() or len(pieces) < 3:
        raise Fault("messages-type", path, "does not begin with 'Human:'", "Write who speaks, or remove the row.")
    said = zip(pieces[1::2], pieces[2::2], strict=True)
    return [turn("user" if word == "Human" else "assistant", text) for word, text in said]


def _match_hh(row: Object) -> str | None:
    answers = (row.get("chosen"), row.get("rejected"))
    if "prompt" in row or not all(isinstance(text, str) and text.startswith("\n\nHuman:") for text in answers):
        return None
    return "`chosen` and `rejected` texts of Human: and Assistant:"


def _parse_hh(row: Object, _note: Note) -> PreferenceExample:
    chosen, rejected = (_hh_turns(need_text(row, key), key) for key in ("chosen", "rejected"))
    same = next((i for i, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other), None)
    at = min(len(chosen), len(rejected)) - 1 if same is None else same
    if chosen[at].role != "assistant" or rejected[at].role != "assistant":
        raise Fault("answer-role", "chosen", "the answers do not part where the assistant speaks", "Remove the row.")
    return PreferenceExample(
        prompt=chosen[:at], chosen=chosen[at:], rejected=rejected[at:], extra=rest(row, "chosen", "rejected")
    )


_READ_ON = "2026-11-21"

FORMATS = (
    Format(
        name="hh",
        kind="preference",
        summary="chosen and rejected texts in which Human: and Assistant: speak: Anthropic's HH-RLHF",
        match=_match_hh,
        parse=_parse_hh,
        rank=50,
        aliases=("hh-rlhf",),
        source="https://huggingface.co/datasets/Anthropic/hh-rlhf",
        read_on=_READ_ON,
    ),
    Format(
        name="turns",
        kind="chat",
        summary="a list of texts that the user and the assistant say in turn, or of input and output: LIMA, UltraChat",
        match=_match_turns,
        parse=_parse_turns,
        rank=30,
        aliases=("lima", "ultrachat"),
        source="https://huggingface.co/datasets/GAIR/lima",
        read_on=_READ_ON,
    ),
    Format(
        name="glaive",
        kind="chat",
        summary="`chat` as one text of USER: and ASSISTANT:, functions in the `system` text: Glaive v2",
        match=_match_glaive,
        parse=_parse_glaive,
        rank=50,
        source="https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2",
        read_on=_READ_ON,
    ),
    Format(
        name="query-calls",
        kind="chat",
        summary="a query, tools, and the calls that answer it, as JSON text: xLAM's function calling",
        match=_match_query,
        parse=_parse_query,
        rank=50,
        aliases=("xlam",),
        source="https://huggingface.co/datasets/Salesforce/xlam-function-calling-60k",
        read_on=_READ_ON,
    ),
    Format(
        name="extractive-qa",
        kind="chat",
        summary="context, question and answers with texts and their places: SQuAD, AutoTrain's question answering",
        match=_match_squad,
        parse=_parse_squad,
        rank=50,
        aliases=("squad",),
        source="https://huggingface.co/datasets/rajpurkar/squad",
        read_on=_READ_ON,
    ),
)
