"""OpenAI's formats: chat, preference, reinforcement. Azure, Mistral, Together, Fireworks and TRL share the first."""

from __future__ import annotations

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    Message,
    PreferenceExample,
    PromptExample,
    UnpairedPreference,
)
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.formats.messages import CHAT_KEYS, ROLE_WORDS, extras_of_chat, messages
from finetune_sdk.data.formats.rendering import encodable_messages, messages_object, switches
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

_SPEC = "https://github.com/openai/openai-openapi/tree/f7f4b05"


def is_messages(value: object) -> bool:
    """Whether the value looks like a list of role/content messages."""
    items = as_list(value)
    if not items:
        return False
    first = as_object(items[0])
    return first is not None and "role" in first and ("content" in first or _SAID_OTHERWISE.isdisjoint(first))


_SAID_OTHERWISE = frozenset(("text", "message", "value", "utterance"))


def last_role(value: object) -> str | None:
    """The canonical role of the last message, None where it cannot be told."""
    items = as_list(value) or [None]
    last = as_object(items[-1]) or {}
    word = last.get("role")
    return ROLE_WORDS.get(word.strip().lower()) if isinstance(word, str) else None


def _key_of_messages(row: Object) -> str:
    found = next((key for key in ("messages", "conversations", "conversation") if key in row), None)
    return found or ("text" if _holds_messages(row.get("text")) else "messages")


def _holds_messages(value: object) -> bool:
    """Messages, or (in tables, and in AutoTrain's `text` column) the text of their list."""
    if isinstance(value, str):
        start = value[:2000].lstrip()
        return start.startswith("[{") and ("'role'" in start or '"role"' in start)
    return is_messages(value)


def _match_chat(row: Object) -> str | None:
    key = _key_of_messages(row)
    return f"`{key}` holds role/content messages" if _holds_messages(row.get(key)) else None


def parse_chat(row: Object, note: Note) -> ChatExample:
    key = _key_of_messages(row)
    if key not in row:
        raise Fault("field-missing", "messages", "'messages' is missing", "Add the list of messages.")
    return ChatExample(
        messages=messages(row[key], key, note),
        **extras_of_chat(row, note),
        extra=rest(row, key, *CHAT_KEYS),
    )


def _render_chat(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    return {"messages": messages_object(example.messages), **switches(example), **example.extra}


def _chat_as_json(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    return {"messages": encodable_messages(example.messages), **switches(example), **example.extra}


def _render_rft(example: Example) -> Object:
    assert isinstance(example, PromptExample), "this format writes prompts"  # noqa: S101
    return {"messages": messages_object(example.prompt), **switches(example), **example.extra}


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    inside = as_object(example.extra.get("input")) or {}
    return {
        "input": {"messages": messages_object(example.prompt), **switches(example), **inside},
        "preferred_output": messages_object(example.chosen),
        "non_preferred_output": messages_object(example.rejected),
        **rest(example.extra, "input"),
    }


def _preference_clash(example: Example) -> str | None:
    """A key `input` of the row's own that is not what stands beside the prompt in `input`."""
    if "input" not in example.extra:
        return None
    inside = as_object(example.extra["input"])
    return "input" if not inside or not _INPUT_KEYS.isdisjoint(inside) else None


_INPUT_KEYS = frozenset(("messages", *CHAT_KEYS))


def _render_unpaired(example: Example) -> Object:
    assert isinstance(example, UnpairedPreference), "this format writes marked answers"  # noqa: S101
    said = messages_object([*example.prompt, *example.completion])
    return {"messages": said, "label": example.label, **switches(example), **example.extra}


def _match_rft(row: Object) -> str | None:
    if is_messages(row.get("messages")) and last_role(row["messages"]) in ("user", "developer", "system"):
        own = [key for key in row if key not in ("messages", *CHAT_KEYS)]
        return "`messages` ends with the user's turn" + (f", beside fields for the grader: {own[:4]}" if own else "")
    return None


def _parse_rft(row: Object, note: Note) -> PromptExample:
    chat = parse_chat(row, note)
    return PromptExample(
        prompt=chat.messages,
        tools=chat.tools,
        parallel_tool_calls=chat.parallel_tool_calls,
        chat_template_kwargs=chat.chat_template_kwargs,
        extra=chat.extra,
    )


def _match_preference(row: Object) -> str | None:
    if "preferred_output" in row or "non_preferred_output" in row:
        return "`input`, `preferred_output`, `non_preferred_output`"
    return None


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    inner = as_object(row.get("input"))
    if inner is None:
        fix = 'Write {"input": {"messages": [...]}} beside the two outputs.'
        raise Fault("field-type", "input", "'input' must be an object with 'messages'", fix)
    beside = rest(inner, *_INPUT_KEYS)
    extra = rest(row, "input", "preferred_output", "non_preferred_output")
    return PreferenceExample(
        prompt=messages(inner.get("messages"), "input.messages", note),
        chosen=answers(row.get("preferred_output"), "preferred_output", note),
        rejected=answers(row.get("non_preferred_output"), "non_preferred_output", note),
        **extras_of_chat(inner, note, "input"),
        extra={**extra, "input": beside} if beside else extra,
    )


def answers(value: object, path: str, note: Note) -> list[Message]:
    """The model's side of a pair: its turns, tools' answers between them allowed."""
    single = as_object(value)
    found = messages(value if single is None else [single], path, note)
    if not any(message.role == "assistant" for message in found):
        raise Fault("answer-role", path, "the answer holds no turn of the assistant", "Set its role to assistant.")
    return found


def _match_unpaired(row: Object) -> str | None:
    label = next((key for key in ("label", "kto_tag") if isinstance(row.get(key), bool)), None)
    if label is not None and is_messages(row.get("messages")):
        return f"`messages` and a true/false `{label}`"
    return None


def _parse_unpaired(row: Object, note: Note) -> UnpairedPreference:
    key = "kto_tag" if "kto_tag" in row else "label"
    if not isinstance(row.get(key), bool):
        raise Fault("label-type", key, f"must be true or false, this is {type_name(row.get(key))}", "Write a boolean.")
    chat = parse_chat({name: value for name, value in row.items() if name != key}, note)
    if chat.messages[-1].role != "assistant":
        raise Fault("answer-role", "messages", "the last turn is not the assistant's", "End with the marked answer.")
    return UnpairedPreference(
        prompt=chat.messages[:-1],
        completion=chat.messages[-1:],
        label=row[key],
        tools=chat.tools,
        chat_template_kwargs=chat.chat_template_kwargs,
        extra=chat.extra,
        shape="messages",
    )


FORMATS = (
    Format(
        name="chat",
        kind="chat",
        summary="role/content messages: OpenAI, Azure, Mistral, Together, Fireworks",
        match=_match_chat,
        parse=parse_chat,
        render=_render_chat,
        as_json=_chat_as_json,
        needs_call_ids=True,
        reserved=frozenset(("messages", "conversations", "conversation", *CHAT_KEYS)),
        cannot=frozenset(("message-keys-clash",)),
        rank=10,
        aliases=("openai", "openai-chat", "azure", "mistral", "together", "fireworks", "messages"),
        source=_SPEC,
        read_on="2026-11-20",
    ),
    Format(
        name="openai-rft",
        kind="prompt",
        summary="messages that end with the user's turn, and fields for the grader",
        match=_match_rft,
        parse=_parse_rft,
        render=_render_rft,
        needs_call_ids=True,
        reserved=frozenset(("messages", "conversations", "conversation", *CHAT_KEYS)),
        cannot=frozenset(("message-keys-clash",)),
        rank=20,
        aliases=("rft", "azure-rft"),
        source=_SPEC,
        read_on="2026-11-20",
    ),
    Format(
        name="openai-preference",
        kind="preference",
        summary="input, preferred_output, non_preferred_output: OpenAI, Azure, Together",
        match=_match_preference,
        parse=_parse_preference,
        render=_render_preference,
        loses={"margin": "left out"},
        needs_call_ids=True,
        reserved=frozenset(("preferred_output", "non_preferred_output")),
        clashes=_preference_clash,
        cannot=frozenset(("message-keys-clash", "no-prompt")),
        rank=30,
        aliases=("openai-dpo", "azure-dpo"),
        source=_SPEC,
        read_on="2026-11-20",
    ),
    Format(
        name="messages-unpaired",
        kind="unpaired",
        summary="messages whose last turn is marked good or bad: LLaMA-Factory's KTO",
        match=_match_unpaired,
        parse=_parse_unpaired,
        render=_render_unpaired,
        cannot=frozenset(("answer-turns", "message-keys-clash")),
        reserved=frozenset(("messages", "conversations", "conversation", "label", "kto_tag", *CHAT_KEYS)),
        rank=30,
        source="https://github.com/hiyouga/LLaMA-Factory/tree/main/data",
        read_on="2026-11-20",
    ),
)
