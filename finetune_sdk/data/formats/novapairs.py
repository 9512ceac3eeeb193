"""Two answers to a conversation in Bedrock's Converse form, as Amazon Nova learns preferences from them."""

from __future__ import annotations

from finetune_sdk.data.example import ChatExample, Example, Message, PreferenceExample
from finetune_sdk.data.formats.base import Format, rest
from finetune_sdk.data.formats.bedrock import RESERVED, TAKEN, WIRE, parse_converse, render_converse, takes
from finetune_sdk.data.formats.blocks import BLOCK_CANNOT, BLOCK_LOSSES, only_here, turns
from finetune_sdk.data.jsonvalue import Object, as_list, as_object
from finetune_sdk.data.report import Fault, Note

_LABELS = ("preferred", "non-preferred")


def _last(row: Object) -> Object:
    items = as_list(row.get("messages")) or [None]
    return as_object(items[-1]) or {}


def _match(row: Object) -> str | None:
    return "`messages` that end in labelled `candidates`" if as_list(_last(row).get("candidates")) else None


def _parse(row: Object, note: Note) -> PreferenceExample:
    said = as_list(row.get("messages")) or []
    place = f"messages[{len(said) - 1}]"
    path = f"{place}.candidates"
    if _last(row).get("role", "assistant") != "assistant":
        raise Fault("role-unknown", f"{place}.role", "candidates are answers of the assistant", "Write 'assistant'.")
    answers: dict[str, list[Message]] = {}
    for index, item in enumerate(as_list(_last(row).get("candidates")) or []):
        found = as_object(item) or {}
        label = found.get("preferenceLabel")
        if not isinstance(label, str) or label not in _LABELS or label in answers:
            what = f"there must be exactly one candidate of each label: {' and '.join(_LABELS)}"
            raise Fault("preference-labels", f"{path}[{index}].preferenceLabel", what, "Label one each.")
        answer = {"role": "assistant", **rest(found, "preferenceLabel")}
        answers[label] = turns([answer], f"{path}[{index}]", WIRE, note)
    if len(answers) != len(_LABELS):
        raise Fault("preference-labels", path, "there must be two candidates", "Label one each.")
    beside = parse_converse({**row, "messages": said[:-1]}, note) if len(said) > 1 else None
    if beside is None:
        raise Fault("prompt-empty", "messages", "there is nothing that the candidates answer", "Add the question.")
    own = only_here(rest(_last(row), "role", "candidates"), place, note)
    return PreferenceExample(
        prompt=beside.messages,
        chosen=answers[_LABELS[0]],
        rejected=answers[_LABELS[1]],
        tools=beside.tools,
        extra=beside.extra,
        aside={**beside.aside, **({"nova_answer": own} if own else {})},
    )


def _render(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    row = render_converse(_as_chat(example, example.prompt))
    candidates = [
        {"content": render_converse(_as_chat(example, answer))["messages"][0]["content"], "preferenceLabel": label}
        for label, answer in zip(_LABELS, (example.chosen, example.rejected), strict=True)
    ]
    row["messages"] = [
        *row["messages"],
        {"role": "assistant", "candidates": candidates, **example.aside.get("nova_answer", {})},
    ]
    return row


def _as_chat(example: PreferenceExample, messages: list[Message]) -> ChatExample:
    return ChatExample(messages=messages, tools=example.tools, extra=example.extra, aside=example.aside)


FORMATS = (
    Format(
        name="nova-preference",
        kind="preference",
        summary="Converse messages that end in two candidates, one labelled preferred: Amazon Nova",
        match=_match,
        parse=_parse,
        render=_render,
        loses=BLOCK_LOSSES,
        cannot=BLOCK_CANNOT | {"no-prompt", "answer-turns"},
        takes=takes,
        taken=TAKEN,
        needs_call_ids=True,
        reserved=RESERVED,
        rank=65,
        aliases=("bedrock-preference",),
        source="https://docs.aws.amazon.com/nova/latest/userguide/customize-fine-tune-hyperpod-dpo.html",
        read_on="2026-11-22",
    ),
)
