"""Conversations as chat templates want them: tool arguments as objects, every message with content.

Most templates on the Hub serialise `arguments` themselves: given OpenAI's text they write it escaped inside quotes, or
stop. Where `content` is absent, as OpenAI allows beside tool calls, several stop as well.
"""

from __future__ import annotations

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, Example, Message
from finetune_sdk.data.formats.base import Format
from finetune_sdk.data.formats.chat import is_messages, parse_chat
from finetune_sdk.data.formats.messages import CHAT_KEYS
from finetune_sdk.data.formats.rendering import message_object, parsed_arguments, switches
from finetune_sdk.data.jsonvalue import Object, as_list, as_object


def _match(row: Object) -> str | None:
    if is_messages(row.get("messages")):
        for message in as_list(row["messages"]) or ():
            for call in as_list((as_object(message) or {}).get("tool_calls")) or ():
                if as_object((as_object((as_object(call) or {}).get("function")) or {}).get("arguments")) is not None:
                    return "`messages` whose tool calls hold their arguments as objects"
    return None


def _message(message: Message) -> Object:
    row = message_object(message)
    if message.content is UNSET or message.content is None:
        row = {"role": row.pop("role"), **row, "content": ""}
    for written, call in zip(row.get("tool_calls", ()), message.tool_calls or (), strict=True):
        written["function"]["arguments"] = parsed_arguments(call)
    return row


def _render(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    return {"messages": [_message(message) for message in example.messages], **switches(example), **example.extra}


FORMATS = (
    Format(
        name="trl-chat",
        kind="chat",
        summary="role/content messages for chat templates, tool arguments as objects: TRL, Unsloth, Olive",
        match=_match,
        parse=parse_chat,
        render=_render,
        loses={
            "arguments-text": "written as an object: its spacing is not kept",
            "content-null": "written as empty text",
        },
        needs_call_ids=True,
        reserved=frozenset(("messages", "conversations", "conversation", *CHAT_KEYS)),
        cannot=frozenset(("arguments-not-object", "message-keys-clash")),
        extends="chat",
        source="https://huggingface.co/docs/trl/v1.16.0/dataset_formats",
        read_on="2026-11-20",
    ),
)
