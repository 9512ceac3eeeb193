"""Shapes of their own in which well-known datasets are published: read, never written."""

from __future__ import annotations

import json
import re
from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import ROLES, ChatExample, FunctionCall, Message, PreferenceExample, Role, Tool, ToolCall
from finetune_sdk.data.formats import dialogues
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.messages import CHAT_KEYS, ROLE_WORDS, extras_of_chat, messages, turn
from finetune_sdk.data.formats.messages import tools as tools_of
from finetune_sdk.data.formats.sharegpt import function_calls
from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fault, Note

_TALK_KEYS = (
    *("conversations", "conversation", "dialog", "dialogue", "utterances", "turns", "messages", "data", "texts"),
)


def _talk(row: Object) -> tuple[str, list[Any]] | None:
    """The key with texts that speak in turn, or with pairs of input and output."""
    for key in _TALK_KEYS:
        items = as_list(row.get(key)) or []
        texts = len(items) > 1 and all(isinstance(item, str) for item in items)
        if texts or _exchanged(items) is not None:
            return key, items
    return None


_EXCHANGES = (("input", "output"), ("human", "assistant"), ("user", "assistant"), ("question", "answer"))


def _exchanged(items: list[Any]) -> tuple[str, str] | None:
    """The keys under which each item holds what is asked and what is answered; None where one has none."""
    objects = [as_object(item) or {} for item in items]
    for asks, answers in _EXCHANGES:
        if objects and all(isinstance(item.get(asks), str) and isinstance(item.get(answers), str) for item in objects):
            return asks, answers
    return None


_QUESTION_KEYS = ("question_id", "reference", "references")
"""Beside texts they show that these are a benchmark's questions, none of them an answer."""


def only_questions(row: Object) -> Fault | None:
    """What is wrong with rows of a benchmark such as MT-bench: several questions, and no answers."""
    key = next((key for key in _TALK_KEYS if as_list(row.get(key))), None)
    mark = next((mark for mark in _QUESTION_KEYS if mark in row), None)
    items = as_list(row[key]) or [] if key else []
    if (
        mark is None
        or not items
        or not all(isinstance(item, str) or list(as_object(item) or {}) == ["content"] for item in items)
    ):
        return None
    what = f"beside {mark!r}, {key!r} lists a benchmark's questions, not a user and an assistant in turn"
    fix = f"Write the answers too, as messages; if every second text is an answer, remove {mark!r}."
    return Fault("format-unknown", key, what, fix)


def _match_turns(row: Object) -> str | None:
    found = _talk(row)
    if found is None or only_questions(row) is not None:
        return None
    what = "texts, the user's and the assistant's in turn" if isinstance(found[1][0], str) else "questions and answers"
    return f"`{found[0]}` lists {what}"


def _parse_turns(row: Object, note: Note) -> ChatExample:
    found = _talk(row)
    if found is None:
        what = "no list of texts, or of input and output"
        raise Fault("field-type", None, what, f"Write one under {', '.join(_TALK_KEYS[:3])}, or remove the row.")
    fault = only_questions(row)
    if fault is not None:
        raise fault
    key, items = found
    named = next((name for name in _SYSTEM_KEYS if row.get(name)), None)
    system = need_text(row, named) if named else ""
    exchanged = _exchanged(items)
    if exchanged is None:
        _verify_speakers(row, key, len(items))
        roles: tuple[Role, Role] = ("user", "assistant")
        messages = [turn(roles[index % 2], text) for index, text in enumerate(items)]
    else:
        system = _system_of(items, key, system, exchanged)
        messages = [said for item in items for said in _exchange(item, *exchanged)]
    start = [turn("system", system)] if system else []
    empty = [name for name in _SYSTEM_KEYS if name in row and not row[name]]
    extra = rest(row, key, *empty, *([named] if named else []), *CHAT_KEYS)
    return ChatExample(messages=[*start, *messages], **extras_of_chat(row, note), extra=extra, shape="turns")


_SYSTEM_KEYS = ("system", "system_prompt")


def _exchange(item: Object, asks: str, answers: str) -> tuple[Message, Message]:
    source = {"source": item["source"]} if "source" in item else {}
    return turn("user", item[asks]), Message(role="assistant", content=item[answers], extra=source)


def _system_of(items: list[Object], key: str, beside: str, exchanged: tuple[str, str]) -> str:
    """The one system text of all exchanges. Raises `Fault` where they hold more than a conversation has."""
    system = beside
    for index, item in enumerate(items):
        path = f"{key}[{index}]"
        odd = [name for name in item if name not in (*exchanged, "system", "source")]
        if odd:
            what = f"an exchange holds {', '.join(exchanged)} and system, this one also {', '.join(map(repr, odd[:4]))}"
            raise Fault("message-keys", path, what, "Remove these keys, or write the conversation as messages.")
        own = need_text(item, "system") if item.get("system") else ""
        if own and own != system and (system or index):
            what = "this system text is not that of the conversation's start"
            raise Fault("messages-type", f"{path}.system", what, "Write one system text, in the first exchange.")
        system = own or system
    return system


_SPEAKER_KEYS = ("speakers", "speaker", "roles", "role")


def _verify_speakers(row: Object, key: str, texts: int) -> None:
    """Raises `Fault` where a list beside the texts names others than a user and an assistant in turn."""
    for name in _SPEAKER_KEYS:
        given = as_list(row.get(name))
        if given is None:
            continue
        words = [who.strip().lower() if isinstance(who, str) else who for who in given]
        who = [ROLE_WORDS.get(word, word) if isinstance(word, str) else word for word in words]
        breaks = (index for index, word in enumerate(who) if index > 0 and (word == who[0]) == (index % 2 == 1))
        at = next(breaks, None) or next((index for index, word in enumerate(who) if word != who[index % 2]), None)
        if len(who) != texts:
            what = f"{name!r} names {len(who)} speakers, but {key!r} lists {texts} texts"
        elif at is not None:
            what = f"two speakers do not take turns: text {at + 1} is said by {given[at]!r:.40}"
        elif {who[0], who[1]} & {*ROLES} and (who[0] in _NOT_FIRST or who[1] in _NOT_SECOND):
            what = f"{given[0]!r:.40} and {given[1]!r:.40} speak in turn, not a user and an assistant"
        else:
            continue
        raise Fault("messages-type", name, what, "Write the conversation as messages with roles, or remove the row.")


_NOT_FIRST = frozenset(ROLES) - {"user"}
_NOT_SECOND = frozenset(ROLES) - {"assistant"}


_SPEAKER = re.compile(r"(?:^|\n)\s*(USER|ASSISTANT|FUNCTION RESPONSE):[ \t]*")
_END = "<|endoftext|>"
_CALL = re.compile(r'\s*\{\s*"name":\s*"([^"]+)",\s*"arguments":\s*(.*)\}\s*', re.DOTALL)
_OFFER = re.compile(
    r",?\s+with access to the following functions\b[ \t]*[.:]*(?:\s*Use them if required)?[\s.:,\-]*", re.IGNORECASE
)
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
    system, tools = _offered(system)
    if tools:
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


def _offered(system: str) -> tuple[str, list[Tool]]:
    """A system text without the definitions that it holds one after another, and these."""
    offer = _OFFER.search(system)
    if offer is None:
        return system, []
    found: list[Tool] = []
    said = [f"{system[: offer.start()].rstrip()}."]
    start = offer.end()
    while (at := system.find("{", start)) >= 0:
        said.append(system[start:at])
        try:
            value, start = json.JSONDecoder().raw_decode(system, at)
        except (ValueError, RecursionError):
            value = None
        if not isinstance((as_object(value) or {}).get("name"), str):
            what = f"what begins with {system[at : at + 30]!r} is no function's definition as JSON"
            raise Fault("tools-type", "system", what, "Correct the definition, or remove the row.")
        found.append({"type": "function", "function": value})
    said.append(system[start:])
    kept = [text.strip() for text in said if text.strip(" \t\r\n,;[]")]
    return ("\n\n".join(kept) if found else system), found


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
    required = [name for name, item in named.items() if "default" not in item and not _kind(item.get("type"))[1]]
    if required:
        schema["required"] = required
    return {**tool, "function": {**function, "parameters": schema}}


_TYPES = {word: kind for kind, words in _PYTHON_TYPES.items() for word in (kind, *words)} | dict.fromkeys(
    ("null", "none", "nonetype"), "null"
)


def _kind(given: Any) -> tuple[str, bool]:
    """A type as Python writes it, in lower case and without what makes it optional; whether something does."""
    word = given.strip().lower() if isinstance(given, str) else ""
    plain = re.sub(r"[\s,(]+optional\)?$", "", word)
    inner = re.fullmatch(r"(?:typing\.)?optional\[(.*)\]", plain, re.DOTALL)
    return (inner[1] if inner else plain).strip().removeprefix("typing."), inner is not None or plain != word


def _property(given: Object) -> Object:
    """One parameter's schema. A type that JSON Schema has no word for is kept in the description."""
    kind, others = given.get("type"), rest(given, "type")
    listed = [_TYPES.get(_kind(item)[0]) for item in as_list(kind) or []]
    if listed and all(listed):
        return {"type": listed, **others}
    plain = _kind(kind)[0]
    if kind in (None, "") or plain == "any":
        return others
    word = re.match(r"\w*", plain)
    known = _TYPES.get(word[0]) if word and not re.search(r"\||\bor\b", plain) else None
    if known is not None and re.fullmatch(r"\w+", plain):
        return {"type": known, **others}
    inside = _inside(plain, known)
    if inside is not None:
        return {"type": known, **inside, **others}
    shown, said = kind if isinstance(kind, str) else json.dumps(kind), others.get("description")
    described = {**others, "description": f"{said} (type: {shown})" if said else f"type: {shown}"}
    return {"type": known, **described} if known else described


def _inside(plain: str, known: str | None) -> Object | None:
    """What `list[int]` and `dict[str, int]` say beside the type; None of others, such as a tuple's items."""
    found = re.fullmatch(r"(\w+)\[(.*)\]", plain, re.DOTALL)
    if found is None or found[1] == "tuple":
        return None
    item = found[2].strip()
    if known == "object":
        key, _, item = (text.strip() for text in item.partition(","))
        if key != "str":
            return None
    if known not in ("array", "object") or _kind(item)[1] or "," in re.sub(r"\[.*\]", "", item, flags=re.DOTALL):
        return None
    name, schema = "items" if known == "array" else "additionalProperties", _property({"type": item})
    return {name: schema} if schema else {}


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


def _match_rejected(row: Object) -> str | None:
    if not isinstance(row.get("rejected_response"), str) or "chosen_response" in row or "chosen" in row:
        return None
    said = as_list(row.get("messages")) or []
    answered = bool(said) and (as_object(said[-1]) or {}).get("role") == "assistant"
    return "`messages` and the `rejected_response` to them" if answered else None


def _parse_rejected(row: Object, note: Note) -> PreferenceExample:
    said = messages(row.get("messages"), "messages", note)
    if said[-1].role != "assistant":
        raise Fault("answer-role", "messages", "the last turn is not the assistant's", "Add the better answer.")
    return PreferenceExample(
        prompt=said[:-1],
        chosen=said[-1:],
        rejected=[turn("assistant", need_text(row, "rejected_response"))],
        **extras_of_chat(row, note),
        extra=rest(row, "messages", "rejected_response", *CHAT_KEYS),
    )


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
        rank=31,
        aliases=("hh-rlhf",),
        source="https://huggingface.co/datasets/Anthropic/hh-rlhf",
        read_on=_READ_ON,
    ),
    Format(
        name="rejected-response",
        kind="preference",
        summary="messages that end with the better answer, and the worse one as `rejected_response`: ms-swift",
        match=_match_rejected,
        parse=_parse_rejected,
        rank=31,
        aliases=("swift",),
        source="https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html",
        read_on=_READ_ON,
    ),
    Format(
        name="turns",
        kind="chat",
        summary="a list of texts that the user and the assistant say in turn, or of input and output: LIMA, UltraChat",
        match=_match_turns,
        parse=_parse_turns,
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
        source="https://huggingface.co/datasets/glaiveai/glaive-function-calling-v2",
        read_on=_READ_ON,
    ),
    Format(
        name="query-calls",
        kind="chat",
        summary="a query, tools, and the calls that answer it, as JSON text: xLAM's function calling",
        match=_match_query,
        parse=_parse_query,
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
        aliases=("squad",),
        source="https://huggingface.co/datasets/rajpurkar/squad",
        read_on=_READ_ON,
    ),
)

YIELDS: dict[str, frozenset[str]] = {
    **{entry.name: frozenset(("turns",)) for entry in FORMATS},
    "hh": frozenset(("turns", "preference", "text", "labelled")),
    "rejected-response": frozenset(("turns", "chat", "trl-chat", "text", "labelled")),
    "turns": frozenset(),
    **dialogues.YIELDS,
}
"""The formats of this module and of `dialogues`.

A row that is of another format too is only of that one, but for those named here.

Tools that rewrite a dataset often keep its old columns: the conversation that they wrote is the one that is meant.
"""
