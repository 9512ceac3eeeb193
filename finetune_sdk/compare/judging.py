"""A model as judge: which of two answers is better, asked twice with the answers changing places."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from finetune_sdk.compare.asking import Asker
from finetune_sdk.compare.bench import Judge, Limits
from finetune_sdk.compare.items import Answer, Item, text_of
from finetune_sdk.compare.meter import Meter
from finetune_sdk.compare.results import JudgeResult, Score
from finetune_sdk.compare.state import Journal, answers_in
from finetune_sdk.evaluate.intervals import mcnemar, wilson
from finetune_sdk.types import Deployment

_INSTRUCTIONS = (
    "The better answer is the one that is correct and complete and agrees with the reference answer. Length, style and "
    "the order in which the answers stand do not count."
)
_TASK = (
    "You compare two answers to one question. {instructions}\nThink briefly, then end with one line that is exactly "
    "'Verdict: A', 'Verdict: B' or 'Verdict: tie'."
)
_VERDICT = re.compile(r"verdict\W+(?:a\s+(?=tie\b))?(tie|a|b)\b", re.IGNORECASE)  # "a tie" is no A
MAX_TOKENS = 512


def judged(
    judge: Judge,
    items: Sequence[Item],
    pair: tuple[tuple[str, Sequence[Answer]], tuple[str, Sequence[Answer]]],
    *,
    limits: Limits,
    journal: Path,
    stop: Callable[[], bool],
    meter: Meter | None = None,
) -> JudgeResult:
    """Have the second of the pair judged against the first, item by item; replies on disk are not asked for again.

    An item that either did not answer is not shown to the judge. `meter`: what counts and stops its money; None = it
    costs nothing. Raises `AuthFailed` when the judge refuses the key, `BudgetExceeded`.
    """
    (against, theirs), (name, ours) = pair
    asked = [
        (item, one.text, two.text)
        for item, one, two in zip(items, theirs, ours, strict=True)
        if one.text is not None and two.text is not None
    ]
    questions = [
        _question(judge, item, one, two, turned=turned) for item, one, two in asked for turned in (False, True)
    ]
    replies = _replies(judge, questions, limits, journal, stop, meter)
    return _counted(name, against, [item.id for item, _, _ in asked], replies)


def _question(judge: Judge, item: Item, theirs: str, ours: str, *, turned: bool) -> Item:
    """`turned`: ours stands first."""
    first, second = (ours, theirs) if turned else (theirs, ours)
    text = f"Question:\n{_asked(item)}\n\nReference answer:\n{item.reference or '(none)'}\n\n"
    text += f"Answer A:\n{first}\n\nAnswer B:\n{second}"
    task = _TASK.format(instructions=judge.instructions or _INSTRUCTIONS)
    return Item(
        id=f"{item.id}-{'turned' if turned else 'straight'}",
        messages=[{"role": "system", "content": task}, {"role": "user", "content": text}],
    )


def _asked(item: Item) -> str:
    """What the candidates were asked: the last message is not understood without those before it."""
    said = [(str(one.get("role")), text_of(one.get("content"))) for one in item.messages]
    turns = [(role, text) for role, text in said if text and role not in ("system", "developer")]
    return item.question if len(turns) < 2 else "\n\n".join(f"[{role}] {text}" for role, text in turns)


def _replies(  # noqa: PLR0917 - one call
    judge: Judge, questions: Sequence[Item], limits: Limits, path: Path, stop: Callable[[], bool], meter: Meter | None
) -> dict[str, Answer]:
    known = {key: one for key, one in answers_in(path).items() if not one.error}
    missing = [one for one in questions if one.id not in known]
    if not missing:
        return known
    to = Deployment(
        id=judge.at.model,
        provider="judge",
        model=judge.at.model,
        base_url=judge.at.base_url,
        status="ready",
        api_key_env=judge.at.api_key_env,
    )
    if meter is not None:
        meter.begin(questions, known, lambda item: item.messages, at_once=limits.requests)
    journal = Journal(path)
    try:
        with Asker(to, limits=limits, max_tokens=MAX_TOKENS, temperature=0.0, meter=meter) as asker:
            for answer in asker.all(missing, lambda item: item.messages, stop):
                journal.add(answer)
                known[answer.item] = answer
    finally:
        journal.close()
    return known


def verdict(text: str | None) -> str | None:
    """ "a", "b" or "tie": the last one named; None for nonsense."""
    found = _VERDICT.findall(text or "")
    return found[-1].lower() if found else None


def _counted(name: str, against: str, ids: Sequence[str], replies: dict[str, Answer]) -> JudgeResult:
    counts = Counter(_outcome(replies.get(f"{item}-straight"), replies.get(f"{item}-turned")) for item in ids)
    tied = counts["tied"] + counts["inconsistent"]
    decided = counts["won"] + counts["lost"]
    share = None
    if decided:
        low, high = wilson(counts["won"], decided)
        share = Score(value=counts["won"] / decided, low=low, high=high)
    return JudgeResult(
        candidate=name,
        against=against,
        won=counts["won"],
        lost=counts["lost"],
        tied=tied,
        inconsistent=counts["inconsistent"],
        nonsense=counts["nonsense"],
        failed=counts["failed"],
        share=share,
        p_value=mcnemar(counts["won"], counts["lost"]) if decided else None,
    )


def _outcome(straight: Answer | None, turned: Answer | None) -> str:
    """Ours stands second in `straight`, first in `turned`."""
    if straight is None or turned is None or straight.error or turned.error:
        return "failed"
    one, two = verdict(straight.text), verdict(turned.text)
    if one is None or two is None:
        return "nonsense"
    if one == two == "tie":
        return "tied"
    return {("b", "a"): "won", ("a", "b"): "lost"}.get((one, two), "inconsistent")


def save(path: Path, found: Sequence[JudgeResult]) -> None:
    """Keep the counts beside the replies."""
    path.write_bytes(msgspec.json.encode(list(found)))


def saved(path: Path) -> tuple[JudgeResult, ...]:
    """The counts of the last run; empty when nothing was judged."""
    return tuple(msgspec.json.decode(path.read_bytes(), type=list[JudgeResult])) if path.exists() else ()
