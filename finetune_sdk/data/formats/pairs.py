"""Prompt/completion, prompt-only, preference, unpaired rows: TRL's standard and conversational forms, plain pairs."""

from __future__ import annotations

from typing import Any

from finetune_sdk.data.example import (
    ChatExample,
    Example,
    Message,
    PreferenceExample,
    PromptExample,
    Role,
    StepwiseExample,
    UnpairedPreference,
)
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.chat import is_messages
from finetune_sdk.data.formats.messages import CHAT_KEYS, extras_of_chat, messages, turn
from finetune_sdk.data.formats.rendering import side_value, split_answer, switches
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

_TRL = "https://huggingface.co/docs/trl/v1.16.0/dataset_formats"
PLAIN = "prompt_completion"
"""The shape of rows whose sides are plain strings: a model without a chat template may train on their concatenation."""

PAIR_NAMES: tuple[tuple[str, str], ...] = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("prompt", "generation"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("instruction", "response"),
    ("INSTRUCTION", "RESPONSE"),
    ("message_1", "message_2"),
    ("article", "summary"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("examples", "ground_truth"),
    ("source", "target"),
)
"""Names under which datasets hold a question and its answer; the first pair is the canonical one."""


def side(row: Object, key: str, role: Role, note: Note) -> tuple[list[Message], bool]:
    """One side of a row as messages, and whether it was a plain string."""
    value = row.get(key)
    if isinstance(value, str):
        return [turn(role, value)], True
    if value is None:
        raise Fault("field-missing", key, f"{key!r} is missing", f"Add {key!r}, or map a column to it.")
    if isinstance(value, int | float):
        raise Fault("field-type", key, f"{key!r} must be text, this is {type_name(value)}", "Write it as text.")
    single = as_object(value)
    return messages(value if single is None else [single], key, note), False


def _pair_keys(row: Object) -> tuple[str, str] | None:
    return next((pair for pair in PAIR_NAMES if pair[0] in row and pair[1] in row), None)


def _sided(value: object) -> bool:
    return isinstance(value, str) or is_messages(value)


def _match_pair(row: Object) -> str | None:
    keys = _pair_keys(row)
    if keys is None or (keys == PAIR_NAMES[0] and _marks(row.get("label"))):
        return None
    return f"`{keys[0]}` and `{keys[1]}`" if _sided(row[keys[0]]) else None


def _parse_pair(row: Object, note: Note) -> ChatExample:
    first, second = _pair_keys(row) or PAIR_NAMES[0]
    prompt, plain = side(row, first, "user", note)
    completion, also_plain = side(row, second, "assistant", note)
    context = row.get("context")
    if first == "question" and plain and isinstance(context, str) and context:
        prompt = [turn("user", f"{context}\n{prompt[0].text}")]
    system = row.get("system_prompt")
    start = [turn("system", system)] if isinstance(system, str) and system else []
    known = (first, second, *CHAT_KEYS, *(("system_prompt",) if isinstance(system, str) else ()))
    aside: dict[str, Any] = {"keys": [first, second]} if (first, second) != PAIR_NAMES[0] else {}
    if first == "question" and isinstance(context, str):
        known = (*known, "context")
        aside["context"] = len(context)
    if not plain:
        aside["prompt_turns"] = len(prompt)
    return ChatExample(
        messages=[*start, *prompt, *completion],
        **extras_of_chat(row, note),
        extra=rest(row, *known),
        shape=PLAIN if plain and also_plain and not start else "pair",
        aside=aside,
    )


def _render_pair(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    cut = example.aside.get("prompt_turns")
    prompt, answer = split_answer(example.messages)
    if isinstance(cut, int):
        prompt, answer = example.messages[:cut], example.messages[cut:]
    first, second = example.aside.get("keys", PAIR_NAMES[0])
    plain = example.shape != "pair"
    context = example.aside.get("context")
    if isinstance(context, int):
        return _with_context(example, context, first, second)
    row = {first: side_value(prompt, "user", plain=plain), second: side_value(answer, "assistant", plain=plain)}
    return {**row, **switches(example), **example.extra}


def _with_context(example: ChatExample, context: int, first: str, second: str) -> Object:
    """Context and question were joined; their border is known."""
    prompt, answer = split_answer(example.messages)
    text = prompt[-1].text
    row = {"context": text[:context], first: text[context + 1 if context else 0 :], second: answer[0].text}
    start = {"system_prompt": prompt[0].text} if prompt[0].role == "system" else {}
    return {**start, **row, **switches(example), **example.extra}


def _render_prompt(example: Example) -> Object:
    assert isinstance(example, PromptExample), "this format writes prompts"  # noqa: S101
    return {
        "prompt": side_value(example.prompt, "user", plain=example.shape == PLAIN),
        **switches(example),
        **example.extra,
    }


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    plain = example.shape is not None and example.shape.endswith(PLAIN)
    start = example.prompt if example.shape == "implicit" else []
    row: Object = {
        "chosen": side_value([*start, *example.chosen], "assistant", plain=plain),
        "rejected": side_value([*start, *example.rejected], "assistant", plain=plain),
    }
    if not (example.shape or "").startswith("implicit"):
        key = example.aside.get("prompt_key", "prompt")
        row = {key: side_value(example.prompt, "user", plain=plain), **row}
    if example.margin is not None:
        row["margin"] = example.margin
    return {**row, **switches(example), **example.extra}


def _render_unpaired(example: Example) -> Object:
    assert isinstance(example, UnpairedPreference), "this format writes marked answers"  # noqa: S101
    plain = example.shape == PLAIN
    return {
        "prompt": side_value(example.prompt, "user", plain=plain),
        "completion": side_value(example.completion, "assistant", plain=plain),
        "label": example.label,
        **switches(example),
        **example.extra,
    }


def _render_stepwise(example: Example) -> Object:
    assert isinstance(example, StepwiseExample), "this format writes steps"  # noqa: S101
    row = {"prompt": example.prompt, "completions": example.completions, "labels": example.labels}
    return {**row, **example.extra}


def _match_prompt(row: Object) -> str | None:
    if not _sided(row.get("prompt")):
        return None
    if {"completion", "chosen", "rejected", "response", "generation", "completions"} & row.keys():
        return None
    return "`prompt` without an answer"


def _parse_prompt(row: Object, note: Note) -> PromptExample:
    prompt, plain = side(row, "prompt", "user", note)
    return PromptExample(
        prompt=prompt,
        **extras_of_chat(row, note),
        extra=rest(row, "prompt", *CHAT_KEYS),
        shape=PLAIN if plain else None,
    )


def _match_preference(row: Object) -> str | None:
    if "conversations" in row or "instruction" in row:
        return None
    if _sided(row.get("chosen")) and _sided(row.get("rejected")):
        return "`chosen` and `rejected`" + (" with `prompt`" if "prompt" in row else ", the prompt inside them")
    return None


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    chosen, plain = side(row, "chosen", "assistant", note)
    rejected, also_plain = side(row, "rejected", "assistant", note)
    prompt_key = next((key for key in ("prompt", "question") if key in row), None)
    shape = PLAIN if plain and also_plain else None
    if prompt_key is not None:
        prompt, _ = side(row, prompt_key, "user", note)
        start = row.get("system")
        prompt = [turn("system", start), *prompt] if isinstance(start, str) and start else prompt
    else:
        shape = f"implicit_{shape}" if shape else "implicit"
        prompt = [] if plain or also_plain else _common(chosen, rejected)
    chosen, rejected = _after(prompt, chosen), _after(prompt, rejected)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer:
            raise Fault("answer-empty", name, "holds the prompt only, no answer", "Add the answer.")
    known = ("chosen", "rejected", prompt_key or "prompt", "system" if prompt_key else "", "margin", *CHAT_KEYS)
    margin = row.get("margin")
    return PreferenceExample(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        margin=margin if isinstance(margin, int | float) and not isinstance(margin, bool) else None,
        **extras_of_chat(row, note),
        extra=rest(row, *known),
        shape=shape,
        aside={"prompt_key": prompt_key} if prompt_key == "question" else {},
    )


def _common(first: list[Message], second: list[Message]) -> list[Message]:
    """The turns both answers start with, ending before an answer of the model where that leaves an answer."""
    size = 0
    for ours, theirs in zip(first, second, strict=False):
        if ours != theirs:
            break
        size += 1
    if size == min(len(first), len(second)):
        size = max((index for index in range(size) if first[index].role == "assistant"), default=0)
    return first[:size]


def _after(prompt: list[Message], answer: list[Message]) -> list[Message]:
    return answer[len(prompt) :] if prompt and answer[: len(prompt)] == prompt else answer


def _match_unpaired(row: Object) -> str | None:
    if "prompt" in row and "completion" in row and _sided(row["prompt"]) and _marks(row.get("label")):
        return "`prompt`, `completion` and a true/false `label`"
    return None


def _marks(label: object) -> bool:
    """Whether a label says good or bad, be it in another way than it should."""
    if isinstance(label, str):
        return label.strip().lower() in ("true", "false", "0", "1")
    return isinstance(label, bool | int | float) and label in (0, 1)


def _parse_unpaired(row: Object, note: Note) -> UnpairedPreference:
    label = row.get("label")
    if isinstance(label, str) and label.lower() in ("true", "false"):  # tables hold text only
        label = label.lower() == "true"
    if not isinstance(label, bool):
        raise Fault("label-type", "label", f"must be true or false, this is {_shown(label)}", "Write true or false.")
    prompt, plain = side(row, "prompt", "user", note)
    completion, also_plain = side(row, "completion", "assistant", note)
    return UnpairedPreference(
        prompt=prompt,
        completion=completion,
        label=label,
        extra=rest(row, "prompt", "completion", "label", "tools", "chat_template_kwargs"),
        shape=PLAIN if plain and also_plain else None,
        **{key: value for key, value in extras_of_chat(row, note).items() if key != "parallel_tool_calls"},
    )


def _shown(label: object) -> str:
    return f"the text {label!r:.40}" if isinstance(label, str) else type_name(label)


def _match_stepwise(row: Object) -> str | None:
    if as_list(row.get("completions")) is not None and as_list(row.get("labels")) is not None:
        return "`completions` and `labels`"
    return None


def _parse_stepwise(row: Object, _note: Note) -> StepwiseExample:
    steps, labels = as_list(row.get("completions")) or [], as_list(row.get("labels")) or []
    if len(steps) != len(labels):
        raise Fault("stepwise-lengths", "labels", f"{len(steps)} steps but {len(labels)} labels", "Mark every step.")
    if not all(isinstance(step, str) for step in steps) or not all(isinstance(label, bool) for label in labels):
        raise Fault("field-type", "completions", "steps must be text and their labels true or false", "Fix the row.")
    return StepwiseExample(
        prompt=need_text(row, "prompt"),
        completions=steps,
        labels=labels,
        extra=rest(row, "prompt", "completions", "labels"),
    )


FORMATS = (
    Format(
        name="prompt-completion",
        kind="chat",
        summary="a prompt and its completion, as text or messages; also question/answer and their synonyms",
        match=_match_pair,
        parse=_parse_pair,
        render=_render_pair,
        cannot=frozenset(("last-not-assistant", "no-user", "message-keys-clash")),
        reserved=frozenset((*(key for pair in PAIR_NAMES for key in pair), "system_prompt", "context", *CHAT_KEYS)),
        rank=20,
        aliases=("pair", "qa", "question-answer", "bedrock-prompt"),
        source=_TRL,
        read_on="2026-11-20",
    ),
    Format(
        name="prompt",
        kind="prompt",
        summary="prompts without answers, as text or messages; other keys are the grader's",
        match=_match_prompt,
        parse=_parse_prompt,
        render=_render_prompt,
        reserved=frozenset(("prompt", *CHAT_KEYS)),
        cannot=frozenset(("message-keys-clash",)),
        rank=5,
        aliases=("prompt-only",),
        source=_TRL,
        read_on="2026-11-20",
    ),
    Format(
        name="preference",
        kind="preference",
        summary="chosen and rejected answers, the prompt beside them or inside them",
        match=_match_preference,
        parse=_parse_preference,
        render=_render_preference,
        reserved=frozenset(("prompt", "question", "chosen", "rejected", "margin", "system", *CHAT_KEYS)),
        cannot=frozenset(("message-keys-clash",)),
        rank=30,
        aliases=("trl-preference", "dpo"),
        source=_TRL,
        read_on="2026-11-20",
    ),
    Format(
        name="unpaired",
        kind="unpaired",
        summary="prompt, completion and whether it is good",
        match=_match_unpaired,
        parse=_parse_unpaired,
        render=_render_unpaired,
        reserved=frozenset(("prompt", "completion", "label", *CHAT_KEYS)),
        cannot=frozenset(("message-keys-clash",)),
        rank=30,
        aliases=("trl-unpaired", "kto"),
        source=_TRL,
        read_on="2026-11-20",
    ),
    Format(
        name="stepwise",
        kind="stepwise",
        summary="a prompt, its solution's steps and whether each is right",
        match=_match_stepwise,
        parse=_parse_stepwise,
        render=_render_stepwise,
        reserved=frozenset(("prompt", "completions", "labels")),
        rank=30,
        source=_TRL,
        read_on="2026-11-20",
    ),
)
