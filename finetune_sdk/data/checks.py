"""Checks on one example: what would waste training, silently or not. Pure; each yields findings without a file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from finetune_sdk.data.example import (
    CALL,
    ChatExample,
    EmbeddingExample,
    Example,
    LabelledExample,
    Message,
    PreferenceExample,
    PromptExample,
    StepwiseExample,
    TextExample,
    Turns,
    UnpairedPreference,
)
from finetune_sdk.data.marks import may_be_marked
from finetune_sdk.data.toolchecks import check_tools
from finetune_sdk.types import Finding, Severity

SPECIAL_TOKEN = re.compile(
    r"<\|[A-Za-z_][\w.\-]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>|<\uff5c[^\uff5c]{1,40}\uff5c>"
)
"""Marks of the common chat templates; inside a text they end or begin a turn."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_MOJIBAKE = re.compile(
    "\u00c3[\u00a1-\u00bf]|\u00e2\u20ac[\u2122\u0153\u02dc\u00a6\u009d]|\u00c2[\u00a3\u00a9\u00ab\u00ae\u00b0-\u00bb]"
)
"""UTF-8 that was read as cp1252: an accented letter, a curly quote, a sign became two or three others."""
_HIDDEN = re.compile("[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
"""Zero-width signs and marks that turn the direction of text; joiners are not among them, scripts need those."""
TEXT_MARKS = (SPECIAL_TOKEN, _CONTROL, _MOJIBAKE, _HIDDEN)
"""Whatever gives a text a finding holds one of these, except that it is empty."""


def check(example: Example, *, clean: bool = False) -> Iterable[Finding]:
    """Everything worth knowing about one example. `clean`: its texts were looked at, and hold no odd characters."""
    if type(example) is ChatExample:
        return () if clean and _is_ordinary(example) else _chat(example, clean)
    return _other(example)


def _other(example: Example) -> Iterator[Finding]:
    if isinstance(example, PreferenceExample):
        yield from _preference(example)
    elif isinstance(example, UnpairedPreference):
        yield from _turns(example.prompt, "prompt")
        yield from _answer(example.completion, "completion")
    elif isinstance(example, PromptExample):
        yield from _turns(example.prompt, "prompt")
        if example.prompt[-1].role == "assistant":
            yield _found(
                "last-turn-not-user", "error", "prompt", "the prompt ends with an answer", "End with the user."
            )
    elif isinstance(example, TextExample):
        yield from _text(example.text, "text", empty="error")
    elif isinstance(example, LabelledExample):
        yield from _labelled(example)
    elif isinstance(example, StepwiseExample):
        yield from _text(example.prompt, "prompt", empty="error")
    elif isinstance(example, EmbeddingExample):
        yield from _text(example.anchor, "anchor", empty="error")
        yield from _text(example.positive, "positive", empty="error")


def _found(rule: str, severity: Severity, path: str, message: str, fix: str) -> Finding:
    return Finding(rule=rule, severity=severity, message=message, fix=fix, path=path)


def _chat(example: ChatExample, clean: bool) -> Iterator[Finding]:
    messages = example.messages
    yield from _turns(messages, "messages", clean=clean)
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    if not answers:
        yield _found(
            "no-assistant-turn", "error", "messages", "no turn of the assistant: nothing to learn", "Add the answer."
        )
        return
    if answers[-1] != len(messages) - 1:
        yield _found(
            "last-turn-not-assistant",
            "warning",
            f"messages[{len(messages) - 1}]",
            f"the conversation ends with the {messages[-1].role}'s turn, which is not learned",
            "End with the assistant's turn, or cut the rest.",
        )
    if not _carries_loss(messages[answers[-1]]) and not any(_carries_loss(message) for message in messages):
        yield _found(
            "all-weights-zero",
            "error",
            "messages",
            "every answer has weight 0: the row trains nothing",
            "Give one answer a weight, or remove the row.",
        )
    for index in answers:
        if not _says_something(messages[index]) and _carries_loss(messages[index]):
            yield _empty_target(f"messages[{index}].content")
    if example.tools or any(message.tool_calls or message.role == "tool" for message in messages):
        yield from check_tools(messages, example.tools)


def _is_ordinary(example: ChatExample) -> bool:
    """Whether there are the usual turns and nothing else, the last one the assistant's."""
    messages = example.messages
    return isinstance(messages, Turns) and messages.layout[-1] in ("assistant", CALL) and not example.tools


def _carries_loss(message: Message) -> bool:
    if message.spans is not None and not any(span.train for span in message.spans):
        return False
    return message.weight != 0 if message.role == "assistant" else bool(message.weight)


def _says_something(message: Message) -> bool:
    if type(message.content) is str and message.content and not message.content.isspace():
        return True
    if message.tool_calls or message.refusal:
        return True
    if isinstance(message.content, list):
        return any(part.get("type") != "text" or str(part.get("text", "")).strip() for part in message.content)
    return isinstance(message.content, str) and bool(message.content) and not message.content.isspace()


def _empty_target(path: str) -> Finding:
    return _found("empty-target", "error", path, "the answer to learn is empty", "Remove the row, or write the answer.")


def _preference(example: PreferenceExample) -> Iterator[Finding]:
    yield from _turns(example.prompt, "prompt")
    yield from _answer(example.chosen, "chosen")
    yield from _answer(example.rejected, "rejected")
    if example.chosen == example.rejected:
        yield _found(
            "preference-equal",
            "error",
            "chosen",
            "chosen and rejected are the same: nothing to prefer",
            "Remove the row.",
        )
    if not example.prompt:
        yield _found(
            "prompt-empty",
            "warning",
            "prompt",
            "no prompt: it could not be told from the answers",
            "Add `prompt`, so that only the answers are compared.",
        )


def _answer(messages: list[Message], path: str) -> Iterator[Finding]:
    yield from _turns(messages, path)
    if not any(_says_something(message) for message in messages if message.role == "assistant"):
        yield _empty_target(path)


def _labelled(example: LabelledExample) -> Iterator[Finding]:
    yield from _text(example.text, "text", empty="error")
    label = example.label
    if isinstance(label, float) and not math.isfinite(label):
        yield _found("label-missing", "error", "label", "the label is not a number", "Remove the row.")
    if isinstance(label, str) and label != label.strip():
        yield _found(
            "label-spaces", "warning", "label", f"label {label!r} has spaces around it: a class of its own", "Trim it."
        )


def _turns(messages: list[Message], path: str, *, clean: bool = False) -> Iterator[Finding]:
    texts = [] if clean else [message.content for message in messages if type(message.content) is str]
    marked = not clean and may_be_marked("\n".join(texts))  # one look for all: nearly always there is nothing
    for index, message in enumerate(messages):
        content = message.content
        if type(content) is str:
            if message.role != "assistant" and (not content or content.isspace()):
                yield _found(
                    "empty-turn",
                    "warning",
                    f"{path}[{index}].content",
                    f"an empty turn of the {message.role}",
                    "Fill it.",
                )
            if marked:
                yield from _text(content, f"{path}[{index}].content")
        elif isinstance(content, list):
            for at, part in enumerate(content):
                if isinstance(part.get("text"), str):
                    yield from _text(part["text"], f"{path}[{index}].content[{at}].text")


def _text(text: str, path: str, *, empty: Severity | None = None) -> Iterator[Finding]:
    if empty is not None and (not text or text.isspace()):
        yield _found("empty-text", empty, path, "the text is empty", "Remove the row, or fill it.")
    special = SPECIAL_TOKEN.search(text)
    if special:
        yield _found(
            "special-token-in-text",
            "warning",
            path,
            f"the text contains {special.group()!r}, which a chat template reads as a mark of its own",
            "Remove it unless it is meant.",
        )
    control = _CONTROL.search(text)
    if control:
        yield _found(
            "control-character",
            "warning",
            path,
            f"the text contains the control character U+{ord(control.group()):04X}",
            "Remove it; some trainers stop reading there.",
        )
    if not text.isascii():
        yield from _odd_letters(text, path)


def _odd_letters(text: str, path: str) -> Iterator[Finding]:
    garbled = _MOJIBAKE.search(text)
    if garbled:
        yield _found(
            "mojibake",
            "warning",
            path,
            f"the text holds {garbled.group()!r}: UTF-8 that was once read as another encoding",
            "Convert the source again, as UTF-8; the model would learn to write this.",
        )
    hidden = _HIDDEN.search(text)
    if hidden:
        yield _found(
            "hidden-character",
            "warning",
            path,
            f"the text contains U+{ord(hidden.group()):04X}, which nobody sees",
            "Remove it: hidden marks split words for the model and can hide instructions.",
        )
