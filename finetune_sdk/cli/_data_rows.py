"""How single rows of a dataset look in a terminal: everything that was understood of them, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from finetune_sdk.cli._out import visible, wrapped
from finetune_sdk.data.example import Example, Message, Part, kind_of
from finetune_sdk.data.jsonvalue import as_object
from finetune_sdk.data.targets.base import turns_of

_TEXT_SHOWN = 2000
_VALUE_SHOWN = 400
_ADDRESS_SHOWN = 120
_SIDES = ("chosen", "rejected", "completion")
_TURNS = ("messages", "prompt", *_SIDES)
_NOT_SHOWN = ("kind", "source", "shape", "aside", "extra", "tools")


def example_text(example: Example) -> str:
    """One example: its turns, then what else it holds, tools and keys without a place included."""
    where = f"{example.source.file}:{example.source.line}" if example.source else ""
    lines = [click.style(f"{visible(where)} [{kind_of(example)}]", bold=True)]
    tools = getattr(example, "tools", None)
    if tools is not None:
        lines.append(f"  tools: {', '.join(map(_tool_name, tools)) or 'none'}")
    turns = list(turns_of(example))
    lines += [_turn(message, path.split("[", maxsplit=1)[0]) for path, message in turns]
    body: dict[str, Any] = msgspec.to_builtins(example)
    hidden = (*_NOT_SHOWN, *_TURNS) if turns else _NOT_SHOWN
    lines += [wrapped(f"{key}: {_value(value)}") for key, value in body.items() if key not in hidden]
    lines += [wrapped(f"{visible(key)}: {_value(value)}") for key, value in example.extra.items()]
    return "\n".join(lines)


def _tool_name(tool: dict[str, Any]) -> str:
    name = (as_object(tool.get("function")) or tool).get("name")
    return visible(name) if isinstance(name, str) else "?"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
    return _cut(text, _TEXT_SHOWN if isinstance(value, str) else _VALUE_SHOWN)


def _cut(text: str, most: int) -> str:
    return visible(text) if len(text) <= most else f"{visible(text[:most])} ... ({len(text):,} characters)"


def _turn(message: Message, part: str) -> str:
    weight = "" if message.weight is None else f" (weight {message.weight:g})"
    name = f" {visible(message.name)}" if message.name is not None else ""
    side = f" ({part})" if part in _SIDES else ""
    beside = "".join(f"\n    {line}" for line in _beside(message))
    return f"  {click.style(message.role, fg='cyan')}{name}{side}{weight}: {_said(message)}{beside}"


def _said(message: Message) -> str:
    if not isinstance(message.content, list):
        return _cut(message.text, _TEXT_SHOWN)
    return " ".join(map(_part, message.content))


def _part(part: Part) -> str:
    if isinstance(part.get("text"), str):
        return _cut(part["text"], _TEXT_SHOWN)
    kind = str(part.get("type"))
    given = as_object(part.get(kind))
    address = given.get("url") if given is not None else part.get(kind)
    shown = f" {_cut(address, _ADDRESS_SHOWN)}" if isinstance(address, str) else ""
    return f"[{visible(kind)}{shown}]"


def _beside(message: Message) -> Iterator[str]:
    """What a turn holds beside its text."""
    if message.reasoning is not None:
        yield f"thinks: {_cut(message.reasoning, _TEXT_SHOWN)}"
    if message.refusal is not None:
        yield f"refuses: {_cut(message.refusal, _TEXT_SHOWN)}"
    for call in message.tool_calls or []:
        yield f"calls {visible(call.function.name)}({_cut(call.function.arguments, _TEXT_SHOWN)})"
    for key, value in message.extra.items():
        yield f"{visible(key)}: {_value(value)}"
