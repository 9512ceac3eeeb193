"""Writing messages in OpenAI's shape, and what the writers of other shapes share."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from finetune_sdk.data.example import (
    ChatExample,
    Message,
    PreferenceExample,
    PromptExample,
    Texts,
    ToolCall,
    UnpairedPreference,
)
from finetune_sdk.data.formats.messages import USUAL_REASONING
from finetune_sdk.data.jsonvalue import Object, as_object
from finetune_sdk.data.strict import diagnose


def message_object(message: Message) -> Object:
    """A message with everything it holds."""
    content = message.content
    row: Object = {"role": message.role} if content is UNSET else {"role": message.role, "content": content}
    if message.name is not None:
        row["name"] = message.name
    if message.tool_calls is not None:
        row["tool_calls"] = [call_object(call) for call in message.tool_calls]
    if message.tool_call_id is not None:
        row["tool_call_id"] = message.tool_call_id
    if message.weight is not None:
        row.update(_weight(message))
    if message.reasoning is not None:
        row[message.spelling.get("reasoning", USUAL_REASONING)] = message.reasoning
    if message.refusal is not None:
        row["refusal"] = message.refusal
    if message.spans is not None:
        row["train_detail"] = [
            {"begin_offset": span.begin, "end_offset": span.end - 1, "train": span.train} for span in message.spans
        ]
    return {**row, **message.extra} if message.extra else row


def encodable_messages(messages: list[Message]) -> list[Any]:
    """What encodes as `messages_object` does: a message as it is where its fields are the keys that are written."""
    if type(messages) is Texts:
        return messages
    return [
        message
        if all(not call.extra and not call.arguments_object for call in message.tool_calls or ())
        and message.reasoning is None
        and message.source_role is None
        and message.spans is None
        and not message.spelling
        and not message.extra
        else message_object(message)
        for message in messages
    ]


def _weight(message: Message) -> Object:
    """The weight as the source wrote it: a number, or whether the turn is trained on."""
    key = message.spelling.get("weight", "weight")
    if key == "weight" or message.weight not in (0, 1):
        return {"weight": message.weight}
    return {key: bool(message.weight)}


def messages_object(messages: list[Message]) -> list[Object]:
    """A list of messages with everything they hold."""
    return [message_object(message) for message in messages]


def call_object(call: ToolCall) -> Object:
    """A tool call, its arguments as JSON text. What its `extra` holds under `function` goes into its function."""
    row: Object = {} if call.id is UNSET else {"id": call.id}
    function: Object = {"name": call.function.name, "arguments": call.function.arguments}
    if not call.extra:
        return {**row, "type": call.type, "function": function}
    function.update(as_object(call.extra.get("function")) or {})
    return {**row, "type": call.type, **call.extra, "function": function}


def parsed_arguments(call: ToolCall) -> Object:
    """The arguments as an object; empty where their text holds none (writers refuse such rows before)."""
    return as_object(diagnose(call.function.arguments.encode())) or {}


def switches(example: ChatExample | PromptExample | PreferenceExample | UnpairedPreference) -> Object:
    """Tools and what goes with them, as far as they are stated."""
    row: Object = {}
    if example.tools is not None:
        row["tools"] = example.tools
    parallel = getattr(example, "parallel_tool_calls", None)
    if parallel is not None:
        row["parallel_tool_calls"] = parallel
    if example.chat_template_kwargs is not None:
        row["chat_template_kwargs"] = example.chat_template_kwargs
    return row


def split_answer(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """The conversation up to the last answer, and what follows: the answer."""
    for index in range(len(messages) - 1, -1, -1):
        if messages[index].role == "assistant":
            return messages[:index], messages[index:]
    return messages, []


def system_and_turns(messages: list[Message]) -> tuple[str | None, list[Message]]:
    """A leading system message's text, and the rest."""
    if messages and messages[0].role in ("system", "developer"):
        return messages[0].text, messages[1:]
    return None, messages


def is_plain_turn(messages: list[Message], role: str) -> bool:
    """Whether a side of a pair can be written as one string."""
    return (
        len(messages) == 1
        and messages[0] == Message(role=messages[0].role, content=messages[0].text)
        and (messages[0].role == role)
    )


def side_value(messages: list[Message], role: str, *, plain: bool) -> object:
    """A side of a pair: one string where that is wanted and says all, else messages, tool arguments as they came."""
    if plain and is_plain_turn(messages, role):
        return messages[0].text
    rows = messages_object(messages)
    for row, message in zip(rows, messages, strict=True):
        for written, call in zip(row.get("tool_calls") or (), message.tool_calls or (), strict=True):
            if call.arguments_object:
                written["function"]["arguments"] = parsed_arguments(call)
    return rows


def image_url(part: Object) -> str:
    """Where an image part's picture is."""
    return str(part["image_url"]["url"])
