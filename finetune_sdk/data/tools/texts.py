"""The texts inside an example, with their JSON paths: what is counted, compared and searched."""

from __future__ import annotations

import re
from collections.abc import Iterator

from finetune_sdk.data.example import EmbeddingExample, Example, LabelledExample, Message, StepwiseExample, TextExample
from finetune_sdk.data.jsonvalue import as_list, as_object
from finetune_sdk.data.targets.base import turns_of


def texts(example: Example) -> Iterator[tuple[str, str]]:
    """Every text of the example that a model reads or writes."""
    if isinstance(example, TextExample):
        yield "text", example.text
    elif isinstance(example, LabelledExample):
        yield "text", example.text
        if example.text_pair is not None:
            yield "text_pair", example.text_pair
    elif isinstance(example, StepwiseExample):
        yield "prompt", example.prompt
        for index, step in enumerate(example.completions):
            yield f"completions[{index}]", step
    elif isinstance(example, EmbeddingExample):
        yield "anchor", example.anchor
        yield "positive", example.positive
        if example.negative is not None:
            yield "negative", example.negative
        for index, text in enumerate(example.negatives):
            yield f"negatives[{index}]", text
    else:
        for path, message in turns_of(example):
            yield from _of_message(message, path)


def _of_message(message: Message, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(message.content, str):
        yield f"{path}.content", message.content
    elif isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if isinstance(part.get("text"), str):
                yield f"{path}.content[{index}].text", part["text"]
    if message.reasoning is not None:
        yield f"{path}.reasoning", message.reasoning
    if message.refusal is not None:
        yield f"{path}.refusal", message.refusal
    for index, call in enumerate(message.tool_calls or []):
        yield f"{path}.tool_calls[{index}].function.arguments", call.function.arguments


def strings(example: Example) -> Iterator[tuple[str, str]]:
    """Every text of the row, also what no model reads: names, labels, tools, addresses, keys and what they hold.

    Contents given in place (`data:` addresses) are left out. The names of an object's keys come as one text.
    """
    yield from texts(example)
    for path, message in turns_of(example):
        yield from _beside(message, path)
    if isinstance(example, LabelledExample):
        yield from _inside(example.label, "label")
    for key in ("tools", "chat_template_kwargs"):
        yield from _inside(getattr(example, key, None), key)
    for index, other in enumerate(as_list(example.aside.get("more")) or (), start=1):
        yield from _inside(other, f"positive[{index}]")
    yield from _inside(example.extra, "")


def _beside(message: Message, path: str) -> Iterator[tuple[str, str]]:
    if message.name is not None:
        yield f"{path}.name", message.name
    if isinstance(message.content, list):
        for index, part in enumerate(message.content):
            if part.keys() != {"type", "text"}:
                rest = {key: value for key, value in part.items() if key not in ("type", "text")}
                yield from _inside(rest, f"{path}.content[{index}]")
    for index, call in enumerate(message.tool_calls or []):
        yield from _inside(call.extra, f"{path}.tool_calls[{index}]")
    yield from _inside(message.extra, path)


_IN_PLACE = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*,")


def _inside(value: object, path: str) -> Iterator[tuple[str, str]]:
    """The texts of a JSON value, and the names of its keys."""
    if isinstance(value, str):
        if not _IN_PLACE.match(value):
            yield path, value
        return
    held = as_object(value) or {}
    if held:
        yield path, "\n".join(held)
    for key, inner in held.items():
        yield from _inside(inner, f"{path}.{key}" if path else key)
    for index, inner in enumerate(as_list(value) or ()):
        yield from _inside(inner, f"{path}[{index}]")


def characters(example: Example) -> int:
    """How many characters the example's texts hold together."""
    return sum(len(text) for _, text in texts(example))
