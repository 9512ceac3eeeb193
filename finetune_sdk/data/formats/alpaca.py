"""Alpaca: instruction, input, output; with LLaMA-Factory's system, history, chosen/rejected and kto_tag."""

from __future__ import annotations

from typing import Any

from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample, UnpairedPreference
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.messages import CHAT_KEYS, extras_of_chat, parsed_text, system_of, turn
from finetune_sdk.data.formats.rendering import switches, system_and_turns
from finetune_sdk.data.jsonvalue import Object, as_list, type_name
from finetune_sdk.data.report import Fault, Note

_SOURCE = "https://github.com/hiyouga/LLaMA-Factory/tree/main/data"
JOINER = "\n"
"""Between instruction and input, as LLaMA-Factory joins them; where the input began is kept in `aside`."""


def _match(row: Object) -> str | None:
    names = _names(row, ("instruction", "output", "input"))
    if "instruction" not in names or "output" not in names:
        return None
    return f"`{names['instruction']}` and `{names['output']}`" + (f", `{names['input']}`" if "input" in names else "")


def _names(row: Object, keys: tuple[str, ...]) -> dict[str, str]:
    """Ours to the row's own, whatever their case: tables of a spreadsheet have capital letters."""
    if "instruction" in row:
        return {key: key for key in keys if key in row}
    lower = {key.lower(): key for key in row}
    return {key: lower[key] for key in keys if key in lower}


def _prompt(row: Object) -> tuple[list[Message], dict[str, Any]]:
    instruction = need_text(row, "instruction")
    given = row.get("input")
    if given is not None and not isinstance(given, str):
        raise Fault("field-type", "input", f"'input' must be text, this is {type_name(given)}", "Write it as text.")
    aside: dict[str, Any] = {} if "input" in row else {"input": "absent"}
    if "input" in row and given is None:
        aside = {"input": None}
    text = instruction
    if given:
        text = f"{instruction}{JOINER}{given}" if instruction else given
        aside = {"input": len(instruction)}
    messages = [turn("user", text)]
    system = system_of(row)
    if "system" in row and not system:
        aside["system"] = row["system"]
    start = [turn("system", system)] if system else []
    if "history" in row and not row["history"]:
        aside["history"] = row["history"]
    return [*start, *history(row.get("history")), *messages], aside


def history(value: object) -> list[Message]:
    """Earlier turns, as pairs of question and answer, which tables hold as the text of a list. Raises `Fault`."""
    turns: list[Message] = []
    given = parsed_text(value, "history") if isinstance(value, str) and value.strip() else value
    pairs = as_list(given) or []
    if given and not pairs:
        what = f"must be a list of pairs, this is {type_name(given)}"
        raise Fault("history-type", "history", what, 'Write [["question", "answer"], ...].')
    for index, item in enumerate(pairs):
        pair = as_list(item)
        if pair is None or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise Fault(
                "history-type",
                f"history[{index}]",
                "an entry of the history is a list of two texts: question and answer",
                'Write ["question", "answer"].',
            )
        turns += [turn("user", pair[0]), turn("assistant", pair[1])]
    return turns


_KEYS = ("instruction", "input", "system", "history")


def _parse(row: Object, note: Note) -> ChatExample:
    names = _names(row, (*_KEYS, "output"))
    other = {ours: theirs for ours, theirs in names.items() if ours != theirs}
    if other:
        back = {theirs: ours for ours, theirs in other.items()}
        row = {back.get(key, key): value for key, value in row.items()}
    prompt, aside = _prompt(row)
    if other:
        aside["names"] = other
    return ChatExample(
        messages=[*prompt, turn("assistant", need_text(row, "output"))],
        **extras_of_chat(row, note),
        extra=rest(row, *_KEYS, "output", *CHAT_KEYS),
        shape="alpaca",
        aside=aside,
    )


def _match_preference(row: Object) -> str | None:
    if "instruction" in row and isinstance(row.get("chosen"), str) and isinstance(row.get("rejected"), str):
        return "`instruction`, `chosen` and `rejected`"
    return None


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    prompt, aside = _prompt(row)
    return PreferenceExample(
        prompt=prompt,
        chosen=[turn("assistant", need_text(row, "chosen"))],
        rejected=[turn("assistant", need_text(row, "rejected"))],
        **extras_of_chat(row, note),
        extra=rest(row, *_KEYS, "chosen", "rejected", *CHAT_KEYS),
        shape="alpaca",
        aside=aside,
    )


def _match_unpaired(row: Object) -> str | None:
    found = _match(row) if "instruction" in row else None
    return f"{found}, `kto_tag`" if found and isinstance(row.get("kto_tag"), bool) else None


def _parse_unpaired(row: Object, note: Note) -> UnpairedPreference:
    prompt, aside = _prompt(row)
    if not isinstance(row.get("kto_tag"), bool):
        raise Fault("label-type", "kto_tag", "must be true or false", "Write a boolean.")
    fields = {key: value for key, value in extras_of_chat(row, note).items() if key != "parallel_tool_calls"}
    return UnpairedPreference(
        prompt=prompt,
        completion=[turn("assistant", need_text(row, "output"))],
        label=row["kto_tag"],
        **fields,
        extra=rest(row, *_KEYS, "output", "kto_tag", *CHAT_KEYS),
        shape="alpaca",
        aside=aside,
    )


def _columns(prompt: list[Message], aside: dict[str, Any]) -> Object:
    system, turns = system_and_turns(prompt)
    question = turns[-1].text
    row: Object = {"instruction": question}
    where = aside.get("input")
    if isinstance(where, int):
        row = {"instruction": question[:where], "input": question[where + len(JOINER) if where else 0 :]}
    elif where != "absent":
        row["input"] = aside.get("input", "")
    if system is not None:
        row["system"] = system
    elif "system" in aside:
        row["system"] = aside["system"]
    before = turns[:-1]
    if before:
        row["history"] = [[ask.text, answer.text] for ask, answer in zip(before[::2], before[1::2], strict=True)]
    elif "history" in aside:
        row["history"] = aside["history"]
    return row


def _render(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    answer = {"output": example.messages[-1].text}
    names = example.aside.get("names", {})
    row = {**_columns(example.messages[:-1], example.aside), **answer}
    return {**{names.get(key, key): value for key, value in row.items()}, **switches(example), **example.extra}


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    answers = {"chosen": example.chosen[0].text, "rejected": example.rejected[0].text}
    return {**_columns(example.prompt, example.aside), **answers, **switches(example), **example.extra}


def _render_unpaired(example: Example) -> Object:
    assert isinstance(example, UnpairedPreference), "this format writes marked answers"  # noqa: S101
    answer = {"output": example.completion[0].text, "kto_tag": example.label}
    return {**_columns(example.prompt, example.aside), **answer, **switches(example), **example.extra}


_LOSES = {
    "developer": "written as `system`",
    "empty-system": "left out",
    "weights": "left out",
    "weights-fraction": "left out",
    "weights-elsewhere": "left out",
    "spans": "left out",
    "reasoning": "left out",
    "name": "left out",
    "result-name": "left out",
    "message-keys": "left out",
    "content-list": "joined to one text",
    "margin": "left out",
}
_CANNOT = frozenset(
    (
        *("tool-calls", "images", "other-parts", "same-role", "first-assistant", "system-later", "no-user"),
        *("last-not-assistant", "no-prompt", "answer-turns", "refusal", "content-null", "arguments-not-object"),
    )
)

FORMATS = (
    Format(
        name="alpaca",
        kind="chat",
        summary="instruction, input, output; optional system and history",
        match=_match,
        parse=_parse,
        render=_render,
        loses=_LOSES,
        cannot=_CANNOT,
        reserved=frozenset((*_KEYS, "output", *CHAT_KEYS)),
        rank=40,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
    Format(
        name="alpaca-preference",
        kind="preference",
        summary="instruction, input, chosen, rejected",
        match=_match_preference,
        parse=_parse_preference,
        render=_render_preference,
        loses=_LOSES,
        cannot=_CANNOT,
        reserved=frozenset((*_KEYS, "output", "chosen", "rejected", *CHAT_KEYS)),
        rank=50,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
    Format(
        name="alpaca-unpaired",
        kind="unpaired",
        summary="instruction, input, output, kto_tag",
        match=_match_unpaired,
        parse=_parse_unpaired,
        render=_render_unpaired,
        loses=_LOSES,
        cannot=_CANNOT,
        reserved=frozenset((*_KEYS, "output", "kto_tag", *CHAT_KEYS)),
        rank=50,
        source=_SOURCE,
        read_on="2026-11-20",
    ),
)
