"""Conversations whose turns name who speaks and what is said otherwise than most, and marked steps: read only."""

from __future__ import annotations

import re
from typing import NamedTuple

from finetune_sdk.data.example import ChatExample, Message, Role, StepwiseExample
from finetune_sdk.data.formats.base import Format, need_text, rest
from finetune_sdk.data.formats.messages import CHAT_KEYS, ROLE_WORDS, extras_of_chat, message, messages, turn
from finetune_sdk.data.formats.pairs import compared
from finetune_sdk.data.formats.sharegpt import turns as from_value_turns
from finetune_sdk.data.jsonvalue import Object, as_list, as_object, type_name
from finetune_sdk.data.report import Fault, Note

_WHO = ("role", "from", "speaker", "author", "sender", "user", "is_human", "is_user", "is_bot")
_SAID = ("content", "value", "text", "message", "utterance", "body")
_YES: dict[str, tuple[Role, Role]] = {
    "is_human": ("user", "assistant"),
    "is_user": ("user", "assistant"),
    "is_bot": ("assistant", "user"),
}
"""Keys that say by true or false who speaks: who it is then."""
_USUAL = {
    ("role", "content"): (*("messages", "conversations", "conversation", "text"),),
    ("from", "value"): ("conversations", "conversation", "messages"),
    ("role", "value"): ("conversations", "conversation", "messages"),
}
"""Keys of turns in other formats, each with the rows' keys under which those are looked for."""
_SIDES = frozenset(("prompt", "completion", "chosen", "rejected", "preferred_output", "non_preferred_output", "input"))
"""Parts of a row that are no conversation by themselves."""
_SYSTEMS = ("system", "system_prompt", "preamble")


class Talk(NamedTuple):
    """Where a row has its turns, and by which keys they say who speaks, and what."""

    key: str
    who: str
    said: str
    items: list[Object]


def talk_of(row: Object) -> Talk | None:
    """The row's first list of turns that no other format reads; whether the speakers are known is not looked at."""
    if "rejected" in row:
        return None
    for key, value in row.items():
        if key in _SIDES:
            continue
        items = [as_object(item) or {} for item in as_list(value) or []]
        who = next((name for name in _WHO if items and all(_speaks(name, item) for item in items)), None)
        said = next((name for name in _SAID if who and name != who and all(name in item for item in items)), None)
        if who is not None and said is not None and key not in _USUAL.get((who, said), ()):
            return Talk(key, who, said, items)
    return None


def _speaks(name: str, item: Object) -> bool:
    return isinstance(item.get(name), bool if name in _YES else str)


def _role(talk: Talk, item: Object) -> Role | None:
    if talk.who in _YES:
        yes, no = _YES[talk.who]
        return yes if item[talk.who] else no
    return ROLE_WORDS.get(item[talk.who].strip().lower())


def _match(row: Object) -> str | None:
    talk = talk_of(row)
    if talk is None or compared(row) or not all(_role(talk, item) for item in talk.items):
        return None
    return f"`{talk.key}` lists turns of `{talk.who}` and `{talk.said}`"


def who_speaks(row: Object) -> Fault | None:
    """What is wrong where a list of turns names speakers that nobody knows."""
    talk = talk_of(row)
    if talk is None:
        return None
    words = list(dict.fromkeys(str(item[talk.who]) for item in talk.items))
    what = f"{talk.key!r} lists turns of {talk.who!r} and {talk.said!r}, said by {', '.join(map(repr, words[:4]))}"
    return Fault("format-unknown", talk.key, what, f"Write user or assistant as {talk.who!r}.")


def _parse(row: Object, note: Note) -> ChatExample:
    talk = talk_of(row)
    if talk is None:
        what = f"no list of turns with {', '.join(_WHO[:4])} and {', '.join(_SAID[:4])}"
        raise Fault("messages-type", None, what, "Write the list of turns, or remove the row.")
    said = _turns(talk, row, note)
    system = next((name for name in _SYSTEMS if isinstance(row.get(name), str)), None)
    start = [turn("system", row[system])] if system and row[system] else []
    known = [talk.key, *([system] if system else []), *CHAT_KEYS]
    if talk.key == "chat_history" and isinstance(row.get("message"), str):  # Cohere's: what is asked now
        said, known = [*said, turn("user", row["message"])], [*known, "message"]
    answer = next((key for key in _ANSWERS if said[-1].role != "assistant" and isinstance(row.get(key), str)), None)
    if answer is not None:
        said, known = [*said, turn("assistant", row[answer])], [*known, answer]
    return ChatExample(messages=[*start, *said], **extras_of_chat(row, note), extra=rest(row, *known), shape="turns")


_ANSWERS = ("response", "answer", "output", "completion", "target", "text")
"""Where the last answer is, if the turns end without one."""


def _turns(talk: Talk, row: Object, note: Note) -> list[Message]:
    if (talk.who, talk.said) == ("role", "content"):
        return messages(row[talk.key], talk.key, note)
    if (talk.who, talk.said) in _USUAL:
        return from_value_turns(row[talk.key], talk.key)
    return [_turn(talk, item, f"{talk.key}[{index}]", note) for index, item in enumerate(talk.items)]


def _turn(talk: Talk, item: Object, path: str, note: Note) -> Message:
    role, text = _role(talk, item), item[talk.said]
    if role is None:
        what = f"unknown role {item[talk.who]!r}"
        raise Fault("role-unknown", f"{path}.{talk.who}", what, "Write user or assistant.")
    if not isinstance(text, str):
        what = f"{talk.said!r} must be text, this is {type_name(text)}"
        raise Fault("content-type", f"{path}.{talk.said}", what, "Write it as text.")
    return message({"role": role, "content": text, **rest(item, talk.who, talk.said)}, path, note)


_STEP = "ки"
"""What ends a step in Math-Shepherd's `input`; in `label`, + or - stands in its place."""


def _match_marked(row: Object) -> str | None:
    if isinstance(row.get("label"), str) and _STEP in str(row.get("input")):
        return f"`input` of steps that end in {_STEP}, `label` of the same with + and -"
    return None


def _parse_marked(row: Object, _note: Note) -> StepwiseExample:
    said, marked = need_text(row, "input"), need_text(row, "label")
    pieces = said.split(_STEP)
    labels: list[bool] = []
    at = 0
    for piece in pieces[:-1]:
        at += len(piece)
        if marked[at : at + 1] not in ("+", "-"):
            what = f"step {len(labels) + 1} of `input` has no + or - in its place"
            raise Fault("stepwise-lengths", "label", what, "Mark every step, or remove the row.")
        labels.append(marked[at] == "+")
        at += 1
    first = re.search(r"\bStep 1\b", pieces[0])
    if not labels or pieces[-1].strip() or first is None:
        what = f"the steps do not begin with 'Step 1', or not each ends in {_STEP}"
        raise Fault("stepwise-lengths", "input", what, "Write `prompt`, `completions` and `labels`.")
    steps = [pieces[0][first.start() :], *pieces[1:-1]]
    return StepwiseExample(
        prompt=pieces[0][: first.start()].strip(),
        completions=[step.strip() for step in steps],
        labels=labels,
        extra=rest(row, "input", "label"),
    )


_READ_ON = "2026-11-22"

FORMATS = (
    Format(
        name="named-turns",
        kind="chat",
        summary="turns under other names, such as role/text, speaker/text, is_human/message, or Cohere's chat_history",
        match=_match,
        parse=_parse,
        source="https://huggingface.co/datasets/PygmalionAI/PIPPA; https://docs.cohere.com/v1/reference/chat",
        read_on=_READ_ON,
    ),
    Format(
        name="marked-steps",
        kind="stepwise",
        summary="steps that end in ки, and the same text with + and - in its place: Math-Shepherd",
        match=_match_marked,
        parse=_parse_marked,
        rank=31,
        aliases=("math-shepherd",),
        source="https://huggingface.co/datasets/peiyi9979/Math-Shepherd",
        read_on=_READ_ON,
    ),
)

YIELDS: dict[str, frozenset[str]] = {
    "named-turns": frozenset(("turns", "text")),
    "marked-steps": frozenset(("turns", "labelled")),
}
"""As in `published`: a row that is of another format too is only of that one, but for those named here."""
