"""Canonical examples as the vendor's training rows: pure translation, and what a row cannot say there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

from msgspec import UNSET

from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample, PromptExample, kind_of
from finetune_sdk.types import Finding, Severity

from .rules import Rules

Row = dict[str, Any]
Note = Callable[[Finding], None]

KINDS = {"sft": "chat", "dpo": "preference", "rft": "prompt"}
"""The kind of example each method learns from."""


def render(example: Example, method: str, *, last_answer_only: bool = False) -> Row | None:
    """The example as the vendor's row; None when the method cannot learn from such an example."""
    if method == "sft" and isinstance(example, ChatExample):
        return _chat(example, last_answer_only=last_answer_only)
    if method == "dpo" and isinstance(example, PreferenceExample):
        return _preference(example)
    if method == "rft" and isinstance(example, PromptExample):
        return {**example.extra, "messages": [message_row(one) for one in example.prompt], **_tools(example)}
    if method == "rft" and isinstance(example, ChatExample):
        return {**example.extra, "messages": [message_row(one) for one in example.messages], **_tools(example)}
    return None


def _chat(example: ChatExample, *, last_answer_only: bool) -> Row:
    messages = [message_row(one) for one in example.messages]
    if last_answer_only:
        answers = [one for one in messages if one["role"] == "assistant"]
        for one in answers[:-1]:
            one["weight"] = 0
    return {"messages": messages, **_tools(example)}


def _preference(example: PreferenceExample) -> Row:
    return {
        "input": {"messages": [message_row(one) for one in example.prompt], **_tools(example)},
        "preferred_output": [message_row(one) for one in example.chosen],
        "non_preferred_output": [message_row(one) for one in example.rejected],
    }


def _tools(example: ChatExample | PreferenceExample | PromptExample) -> Row:
    tools: Row = {} if example.tools is None else {"tools": example.tools}
    if example.parallel_tool_calls is not None:
        tools["parallel_tool_calls"] = example.parallel_tool_calls
    return tools


def message_row(message: Message) -> Row:
    """A message as the wire has it, training weights included."""
    row: Row = {"role": message.role}
    if message.content is not UNSET:
        row["content"] = message.content
    for key in ("name", "tool_call_id", "weight", "refusal"):
        if (value := getattr(message, key)) is not None:
            row[key] = value
    if message.tool_calls is not None:
        row["tool_calls"] = [
            {
                **({} if call.id is UNSET else {"id": call.id}),
                "type": call.type,
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls
        ]
    return row


def check(example: Example, method: str, rules: Rules) -> Iterator[Finding]:
    """Everything about one example that the vendor refuses, or that its row cannot carry."""
    place = {"file": example.source.file, "line": example.source.line} if example.source else {}

    def found(rule: str, severity: Severity, message: str, fix: str, path: str | None = None) -> Finding:
        return Finding(rule=rule, severity=severity, message=message, fix=fix, path=path, **place)  # type: ignore[arg-type]

    if render(example, method) is None:
        yield found(
            "row-wrong-kind",
            "error",
            f"{method} learns from {KINDS[method]} rows; this is a {kind_of(example)} row",
            "Convert the data, or choose the method that fits it.",
        )
        return
    if isinstance(example, PreferenceExample):
        yield from _check_answers(example, rules, found)
        parts = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
    elif isinstance(example, ChatExample):
        parts = {"messages": example.messages}
    else:
        assert isinstance(example, PromptExample), "render() answered None for every other kind"
        parts = {"prompt": example.prompt}
    for name, messages in parts.items():
        for index, message in enumerate(messages):
            yield from _check_message(message, f"{name}[{index}]", method, rules, found)
    if method == "sft":
        yield from _check_learns(next(iter(parts.values())), found)
    if method == "rft" and next(iter(parts.values()))[-1:] and next(iter(parts.values()))[-1].role != "user":
        yield found("rft-last-not-user", "error", "the last message of a reinforcement prompt must be the user's",
                    "Remove what follows the question; put the expected answer into a key of its own.")  # fmt: skip
    yield from _check_images([one for messages in parts.values() for one in messages], rules, found)
    if method != "rft" and example.extra:
        keys = ", ".join(sorted(example.extra))
        yield found("row-keys-not-sent", "warning", f"keys that have no place in a training row are not sent: {keys}",
                    "Nothing to do if nothing depends on them.")  # fmt: skip


Found = Callable[..., Finding]


def _check_learns(messages: Sequence[Message], found: Found) -> Iterator[Finding]:
    answers = [one for one in messages if one.role == "assistant"]
    if not answers:
        yield found("row-no-assistant", "error", "no assistant message: nothing to learn", "Add the answer.")
    elif all(one.weight == 0 for one in answers):
        yield found("row-trains-nothing", "error", "every assistant message has weight 0", "Give one weight 1.")


def _check_answers(example: PreferenceExample, rules: Rules, found: Found) -> Iterator[Finding]:
    if not example.prompt:
        yield found("preference-no-prompt", "error", "a preference pair needs a prompt", "Add the question.", "prompt")
    for name in ("chosen", "rejected"):
        answers: list[Message] = getattr(example, name)
        roles = {one.role for one in answers}
        if not answers or len(answers) > rules.answers_max or not roles <= rules.answer_roles or (
            "assistant" not in roles
        ):  # fmt: skip
            yield found(
                "preference-answer",
                "error",
                f"each answer must be {'one assistant message' if rules.answers_max == 1 else 'assistant messages'}, "
                f"this is {len(answers)} with the roles {', '.join(sorted(roles)) or 'none'}",
                "Keep the last assistant message only and move what comes before it into the prompt.",
                name,
            )
    if example.chosen and example.chosen == example.rejected:
        yield found("preference-equal", "error", "both answers are the same", "Remove the row.", "rejected")


def _check_message(message: Message, path: str, method: str, rules: Rules, found: Found) -> Iterator[Finding]:
    if message.role not in rules.roles[method]:
        yield found("role-not-allowed", "error", f"role {message.role!r} is not allowed in {method} rows",
                    f"Use one of: {', '.join(sorted(rules.roles[method]))}.", f"{path}.role")  # fmt: skip
    if message.weight is not None and (message.role != "assistant" or message.weight not in (0, 1)):
        yield found("weight-not-allowed", "error", f"weight {message.weight} on a {message.role} message",
                    "Only assistant messages take a weight, and only 0 or 1.", f"{path}.weight")  # fmt: skip
    if message.spans is not None:
        yield found("spans-not-sent", "error", "training on parts of a message cannot be said here",
                    "Split the message, or use weights on whole messages.", f"{path}.spans")  # fmt: skip
    unsaid = [name for name, value in (("reasoning", message.reasoning), *message.extra.items()) if value is not None]
    if unsaid:
        yield found("message-keys-not-sent", "warning", f"not sent, the API has no field for it: {', '.join(unsaid)}",
                    "Nothing to do if nothing depends on it.", path)  # fmt: skip
    if message.content in (None, UNSET, "") and not message.tool_calls and message.refusal is None:
        yield found("message-empty", "error", "a message without content", "Give it content.", path)
    yield from _check_parts(message, path, rules, found)


def _check_parts(message: Message, path: str, rules: Rules, found: Found) -> Iterator[Finding]:
    if not isinstance(message.content, list):
        return
    for index, part in enumerate(message.content):
        where = f"{path}.content[{index}]"
        kind = part.get("type")
        if kind not in ("text", "image_url", "refusal"):
            yield found("part-not-allowed", "error", f"a part of type {kind!r} cannot be trained on",
                        "Only text and images can.", where)  # fmt: skip
        elif kind == "image_url" and message.role != "user":
            yield found("image-not-users", "error", "an image outside a user message", "Move it.", where)
        elif kind == "image_url":
            yield from _check_image(part, where, rules, found)


def _check_image(part: Row, where: str, rules: Rules, found: Found) -> Iterator[Finding]:
    image: Any = part.get("image_url")
    url: Any = cast("Row", image).get("url") if isinstance(image, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "http://", "data:")):
        yield found("image-url", "error", f"not a web address or data URL: {str(url)[:40]!r}",
                    "Upload the image, or put it in as a base64 data URL.", where)  # fmt: skip
        return
    if not url.startswith("data:"):
        return
    head, _, body = url.partition(",")
    media = head.removeprefix("data:").partition(";")[0]
    if media not in rules.image_types:
        yield found("image-type", "error", f"{media!r} images are not accepted", "Use JPEG, PNG or WEBP.", where)
    if len(body) * 3 // 4 > rules.image_bytes:
        yield found("image-size", "error", f"an image of {len(body) * 3 // 4} bytes", "Keep it under 10 MB.", where)
    try:
        base64.b64decode(body[:64], validate=True)
    except (binascii.Error, ValueError):
        yield found("image-base64", "error", "the data URL is not base64", "Encode the image again.", where)


def images(messages: Sequence[Message]) -> int:
    """How many images the messages show."""
    return sum(
        part.get("type") == "image_url" for one in messages if isinstance(one.content, list) for part in one.content
    )


def _check_images(messages: Sequence[Message], rules: Rules, found: Found) -> Iterator[Finding]:
    count = images(messages)
    if count > rules.images_per_row:
        yield found("row-images", "error", f"{count} images in one row", f"At most {rules.images_per_row} are taken.")
