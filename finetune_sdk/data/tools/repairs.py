"""Safe repairs: each is a row of a table, reports what it changed, and does nothing the second time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from finetune_sdk.data.callids import with_call_ids
from finetune_sdk.data.example import ChatExample, Example, LabelledExample, Message, PromptExample, ToolCall
from finetune_sdk.data.report import Report
from finetune_sdk.data.tools.pictures import inlined
from finetune_sdk.data.tools.textcalls import with_calls
from finetune_sdk.errors import DataError
from finetune_sdk.types import Finding

Change: TypeAlias = Callable[[Example], Example]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """One kind of repair. `change` returns the very same object when there is nothing to do."""

    name: str
    what: str
    """What it does, for a person."""
    change: Change
    default: bool = True
    """False: it changes what is learned, or takes a side; it must be asked for."""


def repaired(example: Example, repairs: Iterable[Repair], report: Report) -> Example:
    """The example after the repairs; each that changed something is a finding of severity "info"."""
    for repair in repairs:
        changed = repair.change(example)
        if changed is not example and changed != example:
            source = example.source
            report.add(
                Finding(
                    rule=f"fixed-{repair.name}",
                    severity="info",
                    message=repair.what,
                    file=source.file if source else None,
                    line=source.line if source else None,
                )
            )
            example = changed
    return example


def chosen(extra: Collection[str] = (), without: Collection[str] = ()) -> tuple[Repair, ...]:
    """The default repairs, those in `extra`, minus those in `without`. Raises `DataError` for an unknown name."""
    for name in (*extra, *without):
        if name not in {repair.name for repair in REPAIRS}:
            raise DataError(f"no repair {name!r}. Known: {', '.join(repair.name for repair in REPAIRS)}.")
    return tuple(
        repair for repair in REPAIRS if (repair.default or repair.name in extra) and repair.name not in without
    )


_PARTS = ("messages", "prompt", "chosen", "rejected", "completion")


def _each(change: Callable[[Message], Message]) -> Change:
    """A change of single messages."""
    return _lists(lambda messages, _: [change(message) for message in messages])


def _lists(change: Callable[[list[Message], str], list[Message]]) -> Change:
    """A change of the lists of messages."""

    def whole(example: Example) -> Example:
        changed: dict[str, Any] = {}
        for name in _PARTS:
            before: object = getattr(example, name, None)
            if isinstance(before, list):
                after = change(before, name)  # pyright: ignore[reportUnknownArgumentType]
                if after != before:
                    changed[name] = after
        return msgspec.structs.replace(example, **changed) if changed else example

    return whole


def _role_words(message: Message) -> Message:
    return msgspec.structs.replace(message, source_role=None) if message.source_role is not None else message


def _arguments_once(message: Message) -> Message:
    calls = message.tool_calls
    if not calls:
        return message
    after = [_decoded(call) for call in calls]
    return msgspec.structs.replace(message, tool_calls=after) if after != calls else message


def _decoded(call: ToolCall) -> ToolCall:
    text = call.function.arguments
    try:
        inner = json.loads(text)
        while isinstance(inner, str):
            text, inner = inner, json.loads(inner)
    except ValueError:
        return call
    if text == call.function.arguments or not isinstance(inner, dict):
        return call
    return msgspec.structs.replace(call, function=msgspec.structs.replace(call.function, arguments=text))


def _is_blank(message: Message) -> bool:
    return (
        not message.tool_calls
        and message.refusal is None
        and message.reasoning is None
        and (message.content in (None, UNSET, []) or (isinstance(message.content, str) and not message.content.strip()))
    )


def _trailing(messages: list[Message], name: str) -> list[Message]:
    """Not where it would take the only answer, or the only question, away: that is an error to be seen."""
    end = len(messages)
    while end > 1 and _is_blank(messages[end - 1]):
        end -= 1
    needed = {"messages": "assistant", "prompt": "user"}.get(name)
    return messages[:end] if any(message.role == needed for message in messages[:end]) else messages


def _empty_system(messages: list[Message], _name: str) -> list[Message]:
    rest = [message for message in messages if message.role not in ("system", "developer") or not _is_blank(message)]
    return rest or messages


def _null_tools(example: Example) -> Example:
    tools = getattr(example, "tools", None)
    if not tools:
        return example
    after = [_without_nulls(tool) for tool in tools]
    return msgspec.structs.replace(example, tools=after) if after != tools else example


def _without_nulls(value: Any) -> Any:
    """Arrow fills objects of different keys with nulls; a definition means one only as a default or a choice."""
    if isinstance(value, dict):
        return {  # pyright: ignore[reportUnknownVariableType]
            key: inner if key in ("default", "enum", "const", "examples") else _without_nulls(inner)
            for key, inner in value.items()  # pyright: ignore[reportUnknownVariableType]
            if inner is not None or key in ("default", "const")
        }
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


def _tools_from_functions(example: Example) -> Example:
    old = example.extra.get("functions")
    if not isinstance(old, list) or not isinstance(example, ChatExample | PromptExample) or example.tools:
        return example
    if not all(isinstance(item, dict) and "name" in item for item in old):  # pyright: ignore[reportUnknownVariableType]
        return example
    extra = {key: value for key, value in example.extra.items() if key not in ("functions", "function_call")}
    tools = [{"type": "function", "function": item} for item in old]  # pyright: ignore[reportUnknownVariableType]
    return msgspec.structs.replace(example, tools=tools, extra=extra)


def _trimmed_label(example: Example) -> Example:
    if (
        isinstance(example, LabelledExample)
        and isinstance(example.label, str)
        and example.label != example.label.strip()
    ):
        return msgspec.structs.replace(example, label=example.label.strip())
    return example


def _merged(messages: list[Message], _name: str) -> list[Message]:
    found: list[Message] = []
    for message in messages:
        before = found[-1] if found else None
        if before is not None and _mergeable(before, message):
            found[-1] = msgspec.structs.replace(before, content=f"{before.text}\n\n{message.text}")
        else:
            found.append(message)
    return found


def _mergeable(first: Message, second: Message) -> bool:
    """Plain texts of one role that agree in everything else."""
    alike = msgspec.structs.replace(first, content="") == msgspec.structs.replace(second, content="")
    plain = isinstance(first.content, str) and isinstance(second.content, str)
    return first.role == second.role != "tool" and alike and plain and not first.tool_calls


def _cut_end(messages: list[Message], name: str) -> list[Message]:
    if name != "messages":
        return messages
    last = max((index for index, message in enumerate(messages) if message.role == "assistant"), default=None)
    return messages if last is None else messages[: last + 1]


_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127))


def _no_controls(message: Message) -> Message:
    if not isinstance(message.content, str):
        return message
    after = message.content.translate(_CONTROL)
    return message if after == message.content else msgspec.structs.replace(message, content=after)


def _renamed(before: str, after: str) -> Change:
    return _each(lambda message: msgspec.structs.replace(message, role=after) if message.role == before else message)


REPAIRS: tuple[Repair, ...] = (
    Repair(name="role-words", what="roles are written with the format's usual words", change=_each(_role_words)),
    Repair(name="arguments-once", what="tool arguments encoded twice are encoded once", change=_each(_arguments_once)),
    Repair(name="functions", what="deprecated `functions` are written as `tools`", change=_tools_from_functions),
    Repair(name="null-tools", what="nulls that a table filled into tool definitions are taken out", change=_null_tools),
    Repair(
        name="calls-in-text",
        what="calls and results inside <tool_call> and <tool_response> marks become tool calls and results",
        change=_lists(with_calls),
        default=False,
    ),
    Repair(name="tool-call-ids", what="tool calls and results without an id get one", change=with_call_ids),
    Repair(name="empty-system", what="empty system messages are removed", change=_lists(_empty_system)),
    Repair(name="trailing-empty", what="empty turns at the end are removed", change=_lists(_trailing)),
    Repair(name="label-spaces", what="spaces around labels are removed", change=_trimmed_label),
    Repair(
        name="merge-turns",
        what="turns of one role in a row are merged",
        change=_lists(_merged),
        default=False,
    ),
    Repair(
        name="cut-end",
        what="turns after the last answer are removed: they are not learned",
        change=_lists(_cut_end),
        default=False,
    ),
    Repair(
        name="images-inline",
        what="pictures beside a conversation are put into it, files as data: URLs",
        change=inlined,
        default=False,
    ),
    Repair(
        name="control-characters",
        what="control characters are removed from texts",
        change=_each(_no_controls),
        default=False,
    ),
    Repair(
        name="system-role",
        what="developer messages become system messages",
        change=_renamed("developer", "system"),
        default=False,
    ),
    Repair(
        name="developer-role",
        what="system messages become developer messages",
        change=_renamed("system", "developer"),
        default=False,
    ),
)


def fixed(examples: Iterable[Example], repairs: Iterable[Repair], report: Report) -> Iterator[Example]:
    """The examples, repaired."""
    wanted = tuple(repairs)
    return (repaired(example, wanted, report) for example in examples)
