"""Prompt/completion, prompt-only, preference, unpaired rows: TRL's standard and conversational forms, plain pairs."""

from __future__ import annotations

import contextlib
import math
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
from finetune_sdk.data.formats.alpaca import history
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.chat import is_messages, last_role
from finetune_sdk.data.formats.messages import CHAT_KEYS, extras_of_chat, messages, parsed_text, turn
from finetune_sdk.data.formats.rendering import messages_object, side_value, split_answer, switches
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
    ("text", "summary"),
    ("examples", "ground_truth"),
    ("source", "target"),
    ("problem", "solution"),
    ("problem", "answer"),
    ("article", "highlights"),
    ("query", "answer"),
    ("instruction", "completion"),
    ("inputs", "targets"),
    ("input_text", "output_text"),
    ("text_input", "output"),
    ("context", "response"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("user_input", "model_output"),
    ("input", "output"),
    ("input", "target"),
)
"""Names under which datasets hold a question and its answer; the first pair is the canonical one."""
PICTURED = ("prompt", "text")
"""AutoTrain's names beside an image; without one, rows with both are prompts, or texts."""
CONTEXTS: dict[str, tuple[str, ...]] = {
    "question": ("context", "article", "passage"),
    "instruction": ("context", "input"),
}
"""What a question is asked about, by the question's name; it is put before a question and after an instruction."""
_SYSTEMS = ("system_prompt", "system")


def side(row: Object, key: str, role: Role, note: Note) -> tuple[list[Message], bool]:
    """One side of a row as messages, and whether it was a plain string."""
    value = row.get(key)
    if isinstance(value, str):
        return [turn(role, value)], True
    if value is None:
        raise Fault("field-missing", key, f"{key!r} is missing", f"Add {key!r}, or map a column to it.")
    if isinstance(value, int | float):
        raise Fault("field-type", key, f"{key!r} must be text, this is {type_name(value)}", "Write it as text.")
    items = as_list(value)
    if items and all(isinstance(item, str) for item in items):
        what = f"{key!r} must be text or messages, this is a list of {len(items)} texts"
        raise Fault("field-type", key, what, f"Map the one that is meant, such as `columns: {{...: {key}.0}}`.")
    single = as_object(value)
    if single is not None and "role" not in single:
        what = f"{key!r} must be text or messages, this is an object with {', '.join(map(repr, list(single)[:4]))}"
        raise Fault("field-type", key, what, f"Name the text inside it, such as `columns: {{...: {key}.KEY}}`.")
    return messages(value if single is None else [single], key, note), False


def _pair_keys(row: Object) -> tuple[str, str] | None:
    """The row's own names of a question and its answer, whatever their case."""
    found = next((pair for pair in PAIR_NAMES if pair[0] in row and pair[1] in row), None)
    names = {key.lower(): key for key in row}
    if found is None:
        lower = next((pair for pair in PAIR_NAMES if pair[0] in names and pair[1] in names), None)
        found = None if lower is None else (names[lower[0]], names[lower[1]])
    if found is not None and found[0].lower() == "input" and names.keys() & _SAYS_MORE:
        return None
    if found is None and "image" in row and all(isinstance(row.get(key), str) for key in PICTURED):
        return PICTURED
    return found


_SAYS_MORE = frozenset(("prompt", "instruction", "question", "text"))
"""Beside them an `input` is but a part of what is asked."""


def _sided(value: object) -> bool:
    return isinstance(value, str) or is_messages(value)


def _match_pair(row: Object) -> str | None:
    keys = _pair_keys(row)
    if keys is None or not _sided(row[keys[0]]):
        return None
    if keys == PAIR_NAMES[0]:
        return None if _marks(row.get("label")) else f"`{keys[0]}` and `{keys[1]}`"
    if isinstance(row.get("label"), bool) or is_messages(row.get("messages")):
        return None  # an answer that may be a bad one; a conversation that says it all
    return f"`{keys[0]}` and `{keys[1]}`"


def _parse_pair(row: Object, note: Note) -> ChatExample:
    first, second = _pair_keys(row) or PAIR_NAMES[0]
    prompt, plain = side(row, first, "user", note)
    completion, also_plain = side(row, second, "assistant", note)
    aside: dict[str, Any] = {"keys": [first, second]} if (first, second) != PAIR_NAMES[0] else {}
    known = {first, second, *CHAT_KEYS}
    about = next((key for key in CONTEXTS.get(first.lower(), ()) if isinstance(row.get(key), str)), None)
    if plain and about is not None:
        known.add(about)
        prompt, aside["about"] = _joined(prompt[0].text, row[about], first), [about, len(row[about])]
    system = next((key for key in _SYSTEMS if isinstance(row.get(key), str) and (row[key] or plain)), None)
    start = [turn("system", row[system])] if system is not None and row[system] else []
    if system is not None:
        known.add(system)
        aside["system_key"] = system
    before, as_messages = _before(row.get("history"), note) if plain else ([], False)
    if before:
        known.add("history")
        aside["history"] = len(before)
    if as_messages:
        aside["history_messages"] = True
    if not plain:
        aside["prompt_turns"] = len(prompt)
    if plain != also_plain:
        aside["plain"] = [plain, also_plain]
    return ChatExample(
        messages=[*start, *before, *prompt, *completion],
        **extras_of_chat(row, note),
        extra=rest(row, *known),
        shape=PLAIN if plain and also_plain and not start and not before else "pair",
        aside=aside,
    )


def _before(value: object, note: Note) -> tuple[list[Message], bool]:
    """The turns before the question, and whether they were given as messages."""
    given = _earlier(value)
    if is_messages(given):
        return messages(given, "history", note), True
    return (history(given), False) if _is_history(given) else ([], False)


def _earlier(value: object) -> object:
    """What tables hold as the text of a list; other texts are no earlier turns."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return parsed_text(value, "history")
    except Fault:
        return value


def _match_target(row: Object) -> str | None:
    texts = isinstance(row.get("text"), str) and isinstance(row.get("target"), str)
    return "`text` and the `target` it is turned into" if texts else None


def _parse_target(row: Object, note: Note) -> ChatExample:
    messages = [turn("user", need_text(row, "text")), turn("assistant", need_text(row, "target"))]
    extra = rest(row, "text", "target", *CHAT_KEYS)
    return ChatExample(messages=messages, **extras_of_chat(row, note), extra=extra, shape=PLAIN)


def _is_history(value: object) -> bool:
    """Whether earlier turns stand beside the question, as pairs."""
    pairs = [as_list(item) or [] for item in as_list(value) or []]
    return bool(pairs) and all(len(pair) == 2 and all(isinstance(text, str) for text in pair) for pair in pairs)


def _joined(text: str, about: str, key: str) -> list[Message]:
    if not about:
        return [turn("user", text)]
    return [turn("user", f"{text}\n{about}" if key.lower() == "instruction" else f"{about}\n{text}")]


def _divided(text: str, size: int, key: str) -> tuple[str, str]:
    """The question and what it is about, of that many characters."""
    if not size:
        return text, ""
    return (text[: -size - 1], text[-size:]) if key.lower() == "instruction" else (text[size + 1 :], text[:size])


def _render_pair(example: Example) -> Object:
    assert isinstance(example, ChatExample), "this format writes conversations"  # noqa: S101
    aside, row = example.aside, dict[str, Any]()
    said, cut = example.messages, aside.get("prompt_turns")
    if "system_key" in aside:
        row[aside["system_key"]] = said[0].text if said[0].role == "system" else ""
        said = said[1:] if said[0].role == "system" else said
    before, said = said[: aside.get("history", 0)], said[aside.get("history", 0) :]
    prompt, answer = (said[:cut], said[cut:]) if isinstance(cut, int) else split_answer(said)
    first, second = aside.get("keys", PAIR_NAMES[0])
    plain = example.shape != "pair" or (("system_key" in aside or bool(before)) and not isinstance(cut, int))
    asks, answers = aside.get("plain") or (plain, plain)
    row |= {first: side_value(prompt, "user", plain=asks), second: side_value(answer, "assistant", plain=answers)}
    if "about" in aside:
        key, size = aside["about"]
        row[first], row[key] = _divided(prompt[-1].text, size, first)
    if aside.get("history_messages"):
        row["history"] = messages_object(before)
    elif before:
        row["history"] = [[ask.text, told.text] for ask, told in zip(before[::2], before[1::2], strict=True)]
    return {**row, **switches(example), **example.extra}


def _render_prompt(example: Example) -> Object:
    assert isinstance(example, PromptExample), "this format writes prompts"  # noqa: S101
    key, prompt = example.aside.get("system_key"), example.prompt
    start: Object = {}
    if key is not None:
        apart = len(prompt) > 1 and prompt[0] == turn("system", prompt[0].text)
        start, prompt = ({key: prompt[0].text}, prompt[1:]) if apart else ({key: ""}, prompt)
    said = side_value(prompt, "user", plain=example.shape == PLAIN)
    return {**start, "prompt": said, **switches(example), **example.extra}


def _render_preference(example: Example) -> Object:
    assert isinstance(example, PreferenceExample), "this format writes preference pairs"  # noqa: S101
    plain = example.shape is not None and example.shape.endswith(PLAIN)
    start = example.prompt if example.shape == "implicit" else []
    better, worse = example.aside.get("answer_keys", ANSWER_NAMES[0])
    row: Object = {
        better: side_value([*start, *example.chosen], "assistant", plain=plain),
        worse: side_value([*start, *example.rejected], "assistant", plain=plain),
    }
    if example.aside.get("single") and len(example.chosen) == len(example.rejected) == 1:
        row = {key: value[0] for key, value in row.items()}
    if not (example.shape or "").startswith("implicit"):
        row = {**_asked(example, plain=plain), **row}
    if example.margin is not None:
        row["margin"] = example.margin
    return {**row, **switches(example), **example.extra}


def _asked(example: PreferenceExample, *, plain: bool) -> Object:
    """The prompt under its source's key, its system text in a column where that was one."""
    key, prompt = example.aside.get("prompt_key", "prompt"), example.prompt
    if "system_key" not in example.aside:
        return {key: side_value(prompt, "user", plain=plain)}
    start = prompt[:1] if prompt and prompt[0].role == "system" else []
    system = start[0].text if start else ""
    return {"system": system, key: side_value(prompt[len(start) :], "user", plain=plain)}


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
    if _answer_keys(row) is not None or _pair_keys(row) == PICTURED or compared(row):
        return None
    return "`prompt` without an answer"


def compared(row: Object) -> list[str]:
    """The columns of answers to one question among which others, or nothing, say which one is better; else none."""
    for name in _COMPARED:
        for ends in _ENDS:
            keys = [f"{name}{end}" for end in ends]
            if all(isinstance(row.get(key), str | list) for key in keys):
                return keys
    for name in ("answers", "responses", "completions"):
        items = [as_object(item) or {} for item in as_list(row.get(name)) or []]
        if len(items) > 1 and all(item.keys() & _GRADES for item in items):
            return [name]
    return []


def listed_answers(row: Object) -> tuple[str, str] | None:
    """A question, and the key of a list of texts that answer it."""
    names = {key.lower(): key for key in row}
    asks = next((names[name] for name in _QUESTIONS if isinstance(row.get(names.get(name, "")), str)), None)
    for name in ("answers", "answer", "responses", "completions", "outputs", "solutions", "targets"):
        items = as_list(row.get(names.get(name, ""))) or []
        if asks is not None and items and all(isinstance(item, str) for item in items):
            return asks, names[name]
    return None


_QUESTIONS = ("question", "query", "prompt", "problem", "instruction", "input", "inputs")
_COMPARED = ("response", "answer", "completion", "output", "conversation", "human_ref")
_ENDS = (("_0", "_1"), ("_1", "_2"), ("1", "2"), ("_a", "_b"), ("_A", "_B"), ("_j", "_k"))
_GRADES = frozenset(("rank", "score", "rating", "overall_score", "pm_score", "reward"))


def _parse_prompt(row: Object, note: Note) -> PromptExample:
    prompt, plain = side(row, "prompt", "user", note)
    system = next((key for key in _SYSTEMS if isinstance(row.get(key), str)), None)
    start = [turn("system", row[system])] if system is not None and row[system] else []
    return PromptExample(
        prompt=[*start, *prompt],
        **extras_of_chat(row, note),
        extra=rest(row, "prompt", *([system] if system else []), *CHAT_KEYS),
        shape=PLAIN if plain else None,
        aside={"system_key": system} if system else {},
    )


ANSWER_NAMES: tuple[tuple[str, str], ...] = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),  # Axolotl's dpo.argilla_chat
    ("text", "rejected_text"),  # AutoTrain's dpo and reward
)
"""Names under which datasets hold the better and the worse answer; the first pair is the canonical one."""


def _answer_keys(row: Object) -> tuple[str, str] | None:
    return next((keys for keys in ANSWER_NAMES if all(_answers(row.get(key)) for key in keys)), None)


def _match_preference(row: Object) -> str | None:
    keys = _answer_keys(row)
    if keys is None or (keys == ANSWER_NAMES[0] and "instruction" in row):  # that is Alpaca's
        return None
    key = _prompt_key(row, keys)
    if key is None and "conversations" in row:
        return None
    return f"`{keys[0]}` and `{keys[1]}`" + (", the prompt inside them" if key is None else f" with `{key}`")


def _answers(value: object) -> bool:
    return _sided(value) or "role" in (as_object(value) or {})


def _prompt_key(row: Object, keys: tuple[str, str]) -> str | None:
    """Where the prompt is: apart, or in messages that end before the answers; None = inside the answers."""
    apart = next((key for key in ("prompt", "question") if key in row), None)
    if apart is not None:
        return apart
    if all(isinstance(row.get(key), str) for key in keys):
        return next((key for key in _ASKED_APART if isinstance(row.get(key), str)), None)
    said = next((key for key in ("messages", "conversations", "conversation") if is_messages(row.get(key))), None)
    return said if said is not None and last_role(row[said]) in ("user", "tool", "system", "developer") else None


_ASKED_APART = ("input", "query", "instruction")
"""Names of a prompt beside answers that are texts; beside answers that are messages they repeat a part of those."""


def _prompt_clash(example: Example) -> str | None:
    """A key that would be read as the prompt of answers that hold theirs inside."""
    inside = (example.shape or "").startswith("implicit_")
    return next((key for key in _ASKED_APART if inside and isinstance(example.extra.get(key), str)), None)


def _parse_preference(row: Object, note: Note) -> PreferenceExample:
    better, worse = keys = _answer_keys(row) or ANSWER_NAMES[0]
    chosen, plain = side(row, better, "assistant", note)
    rejected, also_plain = side(row, worse, "assistant", note)
    prompt_key = _prompt_key(row, keys)
    shape = PLAIN if plain and also_plain else None
    aside: dict[str, Any] = {"prompt_key": prompt_key} if prompt_key not in (None, "prompt") else {}
    if keys != ANSWER_NAMES[0]:
        aside["answer_keys"] = list(keys)
    if as_object(row.get(better)) is not None and as_object(row.get(worse)) is not None:
        aside["single"] = True
    if prompt_key is not None:
        prompt, _ = side(row, prompt_key, "user", note)
        start = row.get("system")
        if isinstance(start, str):
            aside["system_key"] = "system"
            prompt = [turn("system", start), *prompt] if start else prompt
    else:
        shape = f"implicit_{shape}" if shape else "implicit"
        prompt = [] if plain or also_plain else common(chosen, rejected)
    prompt = _with_system(prompt, chosen, rejected)
    chosen, rejected = _after(prompt, chosen), _after(prompt, rejected)
    for name, answer in ((better, chosen), (worse, rejected)):
        if not answer:
            raise Fault("answer-empty", name, "holds the prompt only, no answer", "Add the answer.")
        if not any(message.role == "assistant" for message in answer):
            what = "the answer holds no turn of the assistant"
            raise Fault("answer-role", name, what, "Set its role to assistant.")
    known = (
        *keys,
        prompt_key or "prompt",
        "system" if "system_key" in aside else "",
        "margin",
        *CHAT_KEYS,
    )
    return PreferenceExample(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        margin=_margin(row.get("margin")),
        **extras_of_chat(row, note),
        extra=rest(row, *known),
        shape=shape,
        aside=aside,
    )


def _margin(value: object) -> int | float | None:
    """A number, which tables may hold as text."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value) if value.strip() else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Fault("field-type", "margin", f"'margin' must be a number, this is {type_name(value)}", "Write a number.")
    return value


def common(first: list[Message], second: list[Message]) -> list[Message]:
    """The turns both answers start with, ending before an answer of the model where that leaves an answer."""
    size = 0
    for ours, theirs in zip(first, second, strict=False):
        if ours != theirs:
            break
        size += 1
    if size == min(len(first), len(second)):
        size = max((index for index in range(size) if first[index].role == "assistant"), default=0)
    return first[:size]


def _with_system(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> list[Message]:
    """The prompt, with the system message that both answers repeat it after."""
    start = chosen[:1]
    longer = [*start, *prompt]
    repeated = all(answer[: len(longer)] == longer for answer in (chosen, rejected))
    return longer if prompt and start[0].role == "system" and repeated else prompt


def _after(prompt: list[Message], answer: list[Message]) -> list[Message]:
    """The answer without the prompt it repeats, be it without its system message."""
    shorter = prompt[1:] if prompt and prompt[0].role == "system" else []
    size = next((len(said) for said in (prompt, shorter) if said and answer[: len(said)] == said), 0)
    return answer[size:]


def _match_unpaired(row: Object) -> str | None:
    if "prompt" in row and "completion" in row and _sided(row["prompt"]) and _marks(row.get("label")):
        return "`prompt`, `completion` and a true/false `label`"
    return None


def _marks(label: object) -> bool:
    """Whether a label says good or bad, be it in another way than it should."""
    if isinstance(label, str):
        return label.strip().lower() in _MARKS
    return isinstance(label, bool | int | float) and label in (0, 1)


_MARKS = frozenset(("true", "false", "0", "1", "good", "bad", "chosen", "rejected", "desirable", "undesirable"))
"""Words by which tables mark an answer: the row is an error until true or false is written."""


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
    for key, items, kind, what in (("completions", steps, str, "text"), ("labels", labels, bool, "true or false")):
        wrong = next((index for index, item in enumerate(items) if not isinstance(item, kind)), None)
        if wrong is not None:
            said = f"{'a step' if kind is str else 'its label'} must be {what}, this is {type_name(items[wrong])}"
            raise Fault("field-type", f"{key}[{wrong}]", said, f"Write {what}.")
    return StepwiseExample(
        prompt=need_text(row, "prompt"),
        completions=steps,
        labels=labels,
        extra=rest(row, "prompt", "completions", "labels"),
    )


def _clash(example: Example) -> str | None:
    """A key that would be read as a question, an answer, or what the question is about."""
    first, second = example.aside.get("keys", PAIR_NAMES[0])
    if "about" not in example.aside:
        contexts = CONTEXTS.get(first.lower(), ())
        found = next((key for key in example.extra if key in contexts and isinstance(example.extra[key], str)), None)
        if found is not None:
            return found
    earlier = _earlier(example.extra.get("history"))
    if _is_history(earlier) or is_messages(earlier):
        return "history"
    written = {**dict.fromkeys(example.extra, ""), first: "", second: ""}
    return None if _pair_keys(written) == (first, second) else next(iter(example.extra))


FORMATS = (
    Format(
        name="prompt-completion",
        kind="chat",
        summary="a prompt and its completion, as text or messages; also question/answer and their synonyms",
        match=_match_pair,
        parse=_parse_pair,
        render=_render_pair,
        cannot=frozenset(("last-not-assistant", "no-user", "message-keys-clash")),
        reserved=frozenset((*PAIR_NAMES[0], *_SYSTEMS, *CHAT_KEYS)),
        clashes=_clash,
        rank=20,
        aliases=("pair", "qa", "question-answer", "bedrock-prompt"),
        source=_TRL,
        read_on="2026-11-20",
    ),
    Format(
        name="seq2seq",
        kind="chat",
        summary="text and target, where these are no labels: AutoTrain's seq2seq",
        match=_match_target,
        parse=_parse_target,
        rank=14,
        aliases=("text-target",),
        source="https://github.com/huggingface/autotrain-advanced/tree/v0.8.36",
        read_on="2026-11-22",
    ),
    Format(
        name="prompt",
        kind="prompt",
        summary="prompts without answers, as text or messages; other keys are the grader's",
        match=_match_prompt,
        parse=_parse_prompt,
        render=_render_prompt,
        reserved=frozenset(("prompt", *_SYSTEMS, *CHAT_KEYS)),
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
        clashes=_prompt_clash,
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
        cannot=frozenset(("message-keys-clash", "no-prompt")),
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
