"""How a candidate is asked: as the row stands, after examples, with passages, under another instruction."""

from __future__ import annotations

import importlib
import logging
import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from finetune_sdk.compare.bench import Prompt
from finetune_sdk.compare.items import Item
from finetune_sdk.errors import MissingExtra
from finetune_sdk.evaluate.scoring import normal_label

Messages: TypeAlias = list[dict[str, Any]]
Ask: TypeAlias = Callable[[Item], Messages]

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
_RETRIEVED = "Passages that may help:"


def asking(prompt: Prompt, examples: Callable[[], Sequence[Item]], *, seed: int) -> Ask:
    """A function from an item to what the model is sent. `examples` gives the training rows, if they are needed."""
    if prompt.few_shot is None and prompt.retrieve is None:
        return lambda item: _instructed(item.messages, prompt.system)
    rows = [row for row in examples() if row.reference is not None and row.question]
    searched = prompt.retrieve or (prompt.few_shot and prompt.few_shot.choose == "nearest")
    find = _nearest(rows) if searched else None
    fixed = _spread(rows, prompt.few_shot.k, seed) if prompt.few_shot and prompt.few_shot.choose == "fixed" else []

    def ask(item: Item) -> Messages:
        messages = _instructed(item.messages, prompt.system)
        if prompt.retrieve and find is not None:
            messages = _with_passages(messages, find(item.question, prompt.retrieve))
        if prompt.few_shot is not None:
            near = find if prompt.few_shot.choose == "nearest" else None
            chosen = fixed if near is None else near(item.question, prompt.few_shot.k)
            messages = _with_examples(messages, chosen)
        return messages

    return ask


def _instructed(messages: Messages, system: str | None) -> Messages:
    if system is None:
        return list(messages)
    return [{"role": "system", "content": system}, *(one for one in messages if one.get("role") != "system")]


def _with_examples(messages: Messages, examples: Sequence[Item]) -> Messages:
    """Examples as turns of the conversation, after the instruction; the likest one stands nearest to the question."""
    shown: Messages = []
    for row in examples:
        shown += [{"role": "user", "content": row.question}, {"role": "assistant", "content": row.reference}]
    head = [one for one in messages if one.get("role") == "system"]
    return [*head, *shown, *(one for one in messages if one.get("role") != "system")]


def _with_passages(messages: Messages, rows: Sequence[Item]) -> Messages:
    text = "\n\n".join([_RETRIEVED, *(f"{row.question}\n{row.reference}" for row in rows)])
    if messages and messages[0].get("role") == "system":
        return [{**messages[0], "content": f"{messages[0]['content']}\n\n{text}"}, *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def _spread(rows: Sequence[Item], k: int, seed: int) -> list[Item]:
    """k rows by chance, one of each different answer before the second of any."""
    shuffled = sorted(rows, key=lambda row: row.id)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - a choice to repeat, not a secret
    rounds: dict[str, int] = {}
    order: list[tuple[int, int]] = []
    for index, row in enumerate(shuffled):
        label = normal_label(row.reference or "")
        rounds[label] = rounds.get(label, 0) + 1
        order.append((rounds[label], index))
    return [shuffled[index] for _, index in sorted(order)[:k]]


def prepare(prompts: Iterable[Prompt]) -> None:
    """Import what these need before threads do. Raises `MissingExtra`."""
    if any(one.retrieve or (one.few_shot and one.few_shot.choose == "nearest") for one in prompts):
        _library()


def _library() -> Any:
    try:
        return importlib.import_module("bm25s")
    except ImportError as error:
        raise MissingExtra("compare", "bm25s") from error


def _nearest(rows: Sequence[Item]) -> Callable[[str, int], list[Item]]:
    """Search by BM25 over the questions, in any language; the likest row comes last."""
    bm25s = _library()
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it would write between the lines of the live table
    questions = _tokens(row.question for row in rows)
    if not any(questions):  # nothing to search by: any rows are as near as others
        return lambda _question, k: list(rows[:k])
    index = bm25s.BM25()
    index.index(questions, show_progress=False)

    def find(question: str, k: int) -> list[Item]:
        found, _ = index.retrieve(_tokens([question]), k=min(k, len(rows)), show_progress=False)
        return [rows[int(place)] for place in reversed(found[0])]

    return find


def _tokens(texts: Iterable[str]) -> list[list[str]]:
    """Words, and single signs where words are not parted by spaces; how rare one is says what it is worth."""
    return [_WORD.findall(text.casefold()) for text in texts]
