"""What an example makes use of, as names: what a format loses and what a target refuses are sets of these names.

To make a new property of examples known to all tables: add it to `FEATURES` and yield it below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeAlias

from msgspec import UNSET

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    LabelledExample,
    Message,
    Part,
    PreferenceExample,
    PromptExample,
    TextExample,
    Texts,
    ToolCall,
    UnpairedPreference,
)
from finetune_sdk.data.toolchecks import are_arguments

FEATURES: dict[str, str] = {
    "system": "a system message",
    "empty-system": "an empty system message",
    "system-parts": "images or other parts in a system message",
    "system-later": "a system message after the first turn",
    "developer": "a developer message",
    "multi-turn": "more than one question",
    "same-role": "two turns of one role in a row",
    "first-assistant": "a conversation that the assistant opens",
    "last-not-assistant": "a conversation that does not end with the assistant",
    "no-user": "a conversation without a turn of the user",
    "no-prompt": "answers without anything that they answer",
    "tools": "tool definitions",
    "other-tools": "tools that are no functions",
    "tool-calls": "tool calls and their results",
    "tool-call-ids": "ids of tool calls",
    "tool-calls-without-ids": "tool calls or results without an id",
    "text-beside-calls": "text beside tool calls",
    "arguments-text": "the exact text of tool arguments",
    "arguments-not-object": "tool arguments that are no JSON object",
    "weights": "a weight on an answer",
    "weights-fraction": "a weight other than 0 and 1",
    "weights-elsewhere": "a weight on a turn that is not the assistant's",
    "spans": "training switched per part of a message",
    "images": "images",
    "image-detail": "an image's level of detail",
    "image-type": "an image's media type or owner beside its address",
    "other-parts": "audio, video, files or other parts",
    "result-parts": "images or other parts in a tool result",
    "content-list": "text as a list of parts",
    "content-null": "null or no content",
    "reasoning": "reasoning apart from the answer",
    "refusal": "a refusal apart from the content",
    "name": "a speaker's name",
    "result-name": "the function's name beside a tool result, which its call has too",
    "message-keys": "unknown keys on a message",
    "message-keys-clash": "own keys on a message that have a meaning in chat formats",
    "row-keys": "unknown keys on a row",
    "parallel-tool-calls": "the switch for parallel tool calls",
    "template-kwargs": "arguments for the chat template",
    "margin": "a margin between two answers",
    "answer-turns": "an answer of several turns",
    "empty-tools": "an empty list of tools",
    "label-of-the-whole": "a label that is not one tag for each word",
}

ALL = frozenset(FEATURES)

MESSAGE_KEYS = frozenset(
    (
        *("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "weight", "function_call"),
        *("training", "train", "train_detail", "reasoning", "reasoning_content", "thinking"),
    )
)
"""Keys of a message that chat formats give a meaning."""

SHAPE_ONLY = frozenset(
    (
        "content-list",
        "content-null",
        "arguments-text",
        "empty-tools",
        "empty-system",
        "tool-call-ids",
        "tool-calls-without-ids",
        "result-name",
    )
)
"""Losing these changes how a row is written, not what is learned: a warning. Losing any other one is an error."""


ORDER = frozenset(
    (
        *("system", "empty-system", "system-parts", "system-later", "developer", "multi-turn", "same-role"),
        *("first-assistant", "no-user"),
    )
)
"""Features of the roles and their order."""


Used: TypeAlias = Iterator[tuple[str, str]]
"""Features, each with the JSON path of its place."""


def features(example: Example, wanted: frozenset[str] = ALL) -> Used:
    """Each feature the example uses, with the JSON path of the place; a feature may come more than once.

    `wanted` names all that matter; others may be left out.
    """
    if example.extra:
        yield "row-keys", next(iter(example.extra))
    if isinstance(example, ChatExample):
        yield from _conversation(example.messages, "messages", wanted)
        yield from _switches(example)
        if example.messages[-1].role != "assistant":
            yield "last-not-assistant", f"messages[{len(example.messages) - 1}].role"
    elif isinstance(example, PromptExample):
        yield from _conversation(example.prompt, "prompt", wanted)
        yield from _switches(example)
    elif isinstance(example, LabelledExample):
        if not _tagged(example):
            yield "label-of-the-whole", "label"
    elif isinstance(example, PreferenceExample):
        yield from _pair(example, wanted)
    elif isinstance(example, UnpairedPreference):
        if not example.prompt:
            yield "no-prompt", "prompt"
        yield from _conversation(example.prompt, "prompt", wanted)
        yield from _answer(example.completion, "completion", wanted)
        yield from _switches(example)


def _tagged(example: LabelledExample) -> bool:
    words = example.text.split(" ")
    one_each = isinstance(example.label, list) and len(example.label) == len(words)
    return one_each and all(words) and example.text_pair is None


def _pair(example: PreferenceExample, wanted: frozenset[str]) -> Used:
    if not example.prompt:
        yield "no-prompt", "prompt"
    yield from _conversation(example.prompt, "prompt", wanted)
    yield from _answer(example.chosen, "chosen", wanted)
    yield from _answer(example.rejected, "rejected", wanted)
    yield from _switches(example)
    if example.margin is not None:
        yield "margin", "margin"


def _answer(messages: list[Message], path: str, wanted: frozenset[str]) -> Used:
    if len(messages) > 1:
        yield "answer-turns", path
    for index, message in enumerate(messages):
        for look in _looks(wanted):
            yield from look(message, f"{path}[{index}]")


def _switches(
    example: ChatExample | PromptExample | PreferenceExample | UnpairedPreference,
) -> Used:
    if example.tools:
        yield "tools", "tools"
        other = next((index for index, tool in enumerate(example.tools) if "function" not in tool), None)
        if other is not None:
            yield "other-tools", f"tools[{other}]"
    elif example.tools is not None:
        yield "empty-tools", "tools"
    if getattr(example, "parallel_tool_calls", None) is not None:
        yield "parallel-tool-calls", "parallel_tool_calls"
    if example.chat_template_kwargs is not None:
        yield "template-kwargs", "chat_template_kwargs"


def _conversation(messages: list[Message], path: str, wanted: frozenset[str]) -> Used:
    if not wanted.isdisjoint(ORDER):
        yield from _order(messages, path)
    if type(messages) is Texts:
        return
    looks = _looks(wanted)
    for index, message in enumerate(messages):
        if _is_text(message):
            continue
        place = f"{path}[{index}]"
        for look in looks:
            for feature, at in look(message, place):
                said_twice = feature == "name" and message.role == "tool" and _named_by_call(message, messages)
                yield ("result-name" if said_twice else feature), at


def _is_text(message: Message) -> bool:
    return (
        type(message.content) is str
        and message.role != "tool"
        and message.tool_calls is None
        and not message.extra
        and message.weight is None
        and message.reasoning is None
        and message.name is None
        and message.refusal is None
        and message.spans is None
    )


def _named_by_call(result: Message, messages: list[Message]) -> bool:
    """Whether its call says the same: the one of its id, or without ids the one in its place."""
    if result.tool_call_id is None:
        return _named_in_place(result, messages)
    return any(
        call.function.name == result.name and call.id == result.tool_call_id
        for message in messages
        for call in message.tool_calls or ()
    )


def _named_in_place(result: Message, messages: list[Message]) -> bool:
    calls: list[ToolCall] = []
    answered = 0
    for message in messages:
        if message is result:
            return answered < len(calls) and calls[answered].function.name == result.name
        if message.role == "tool":
            answered += 1
        else:
            calls, answered = message.tool_calls or [], 0
    return False


def _order(messages: list[Message], path: str) -> Used:
    users = 0
    before = ""
    for index, message in enumerate(messages):
        role = message.role
        if role == "system":
            yield ("system-later" if index else "system"), f"{path}[{index}].role"
            if not message.text:
                yield "empty-system", f"{path}[{index}].content"
            yield from _system_parts(message, f"{path}[{index}].content")
        elif role == "developer":
            yield from _system_parts(message, f"{path}[{index}].content")
            yield "developer", f"{path}[{index}].role"
        elif role == "user":
            users += 1
            if users == 2:
                yield "multi-turn", f"{path}[{index}]"
        elif role == "assistant" and before in ("", "system", "developer"):
            yield "first-assistant", f"{path}[{index}].role"
        if role == before and role in ("user", "assistant"):
            yield "same-role", f"{path}[{index}].role"
        before = role
    if not users and messages:
        yield "no-user", path


def _system_parts(message: Message, path: str) -> Used:
    if isinstance(message.content, list) and any(part.get("type") != "text" for part in message.content):
        yield "system-parts", path


def _fields(message: Message, path: str) -> Used:
    for name, value in (("reasoning", message.reasoning), ("refusal", message.refusal), ("name", message.name)):
        if value is not None:
            yield name, f"{path}.{name}"


def _keys(message: Message, path: str) -> Used:
    if message.role != "assistant" and (message.reasoning or message.refusal or message.tool_calls):
        yield "message-keys", path
    if message.extra:
        yield "message-keys", f"{path}.{next(iter(message.extra))}"
        clash = next((key for key in message.extra if key in MESSAGE_KEYS), None)
        if clash is not None:
            yield "message-keys-clash", f"{path}.{clash}"


def _result(message: Message, path: str) -> Used:
    if message.role == "tool":
        yield "tool-calls", path
        if message.tool_call_id is not None:
            yield "tool-call-ids", f"{path}.tool_call_id"
        else:
            yield "tool-calls-without-ids", path
        if isinstance(message.content, list) and any(part.get("type") != "text" for part in message.content):
            yield "result-parts", f"{path}.content"


def _calls(message: Message, path: str) -> Used:
    for index, call in enumerate(message.tool_calls or ()):
        yield from _call(call, f"{path}.tool_calls[{index}]")
    if message.tool_calls and message.text.strip():
        yield "text-beside-calls", f"{path}.content"


def _call(call: ToolCall, path: str) -> Used:
    yield "tool-calls", path
    yield ("tool-calls-without-ids" if call.id is UNSET else "tool-call-ids"), f"{path}.id"
    if call.extra:
        yield "message-keys", f"{path}.{next(iter(call.extra))}"
    if call.arguments_object:
        return
    readable = are_arguments(call.function.arguments)
    yield ("arguments-text" if readable else "arguments-not-object"), f"{path}.function.arguments"


def _weights(message: Message, path: str) -> Used:
    if message.weight is not None:
        yield ("weights" if message.role == "assistant" else "weights-elsewhere"), f"{path}.weight"
        if message.weight not in (0, 1):
            yield "weights-fraction", f"{path}.weight"
    if message.spans is not None:
        yield "spans", path


def _content(message: Message, path: str) -> Used:
    content = message.content
    if content is None or content is UNSET:
        yield "content-null", path
        return
    if isinstance(content, str):
        return
    kinds = {str(part.get("type")) for part in content}
    if kinds <= {"text"}:
        yield "content-list", f"{path}.content"
    for index, part in enumerate(content):
        at = f"{path}.content[{index}]"
        if part.get("type") == "image_url":
            yield "images", at
            if "detail" in part["image_url"]:
                yield "image-detail", f"{at}.image_url.detail"
            for key in part["image_url"]:
                if key not in IMAGE_KEYS:
                    yield ("image-type" if in_the_cloud(part, key) else "message-keys"), f"{at}.image_url.{key}"
        elif part.get("type") != "text":
            yield "other-parts", at
        if "weight" in part or "train" in part:
            yield "spans", at
        unknown = next((key for key in part if key not in PART_KEYS), None)
        if unknown is not None and part.get("type") in ("text", "image_url"):
            yield "message-keys", f"{at}.{unknown}"


PART_KEYS = frozenset(("type", "text", "image_url", "weight", "train"))
"""Keys of texts and images among the parts of a content."""
IMAGE_KEYS = frozenset(("url", "detail"))
"""Keys of an image that chat formats know."""


def in_the_cloud(image: Part, key: str) -> bool:
    """Whether the key says about an image at an address what Gemini's or Bedrock's format say: its type, its owner."""
    return key in ("mime_type", "bucketOwner") and not str(image["image_url"].get("url")).startswith("data:")


RESPONSES_TEXTS = frozenset(("input_text", "output_text"))
"""What the Responses API calls a text among the parts; chat formats do not."""


_LOOKS: tuple[tuple[Callable[[Message, str], Used], tuple[str, ...]], ...] = (
    (
        _content,
        (
            *("content-null", "content-list", "images", "image-detail", "image-type", "other-parts", "spans"),
            "message-keys",
        ),
    ),
    (_weights, ("weights", "weights-elsewhere", "weights-fraction", "spans")),
    (_fields, ("reasoning", "refusal", "name", "result-name")),
    (_keys, ("message-keys", "message-keys-clash")),
    (_result, ("tool-calls", "tool-call-ids", "tool-calls-without-ids", "result-parts")),
    (
        _calls,
        (
            *("tool-calls", "tool-call-ids", "tool-calls-without-ids", "message-keys"),
            *("arguments-text", "arguments-not-object", "text-beside-calls"),
        ),
    ),
)
"""What looks at a message that is more than a text, and all it may find."""


@cache
def _looks(wanted: frozenset[str]) -> tuple[Callable[[Message, str], Used], ...]:
    return tuple(look for look, found in _LOOKS if not wanted.isdisjoint(found))


def is_plain(example: Example) -> bool:
    """Whether the example uses nothing beyond text."""
    return isinstance(example, TextExample) or next(features(example), None) is None
