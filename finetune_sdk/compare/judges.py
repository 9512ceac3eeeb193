"""The judge's part of a run: every candidate that is done against one of them, paid under the comparison's cap."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_sdk.compare.bench import Judge
from finetune_sdk.compare.items import Item
from finetune_sdk.compare.judging import MAX_TOKENS, judged, save
from finetune_sdk.compare.meter import Meter
from finetune_sdk.compare.results import JudgeResult
from finetune_sdk.compare.scoring import in_order
from finetune_sdk.compare.work import Stopped, Work
from finetune_sdk.errors import FineTuneError


def judge_all(work: Work, items: Sequence[Item]) -> None:
    """Judge and keep the counts. A judge that cannot be asked is written down with the reason.

    Raises `Stopped` when the run is to end.
    """
    judge = work.bench.judge
    if judge is None:
        return
    done = [str(one.name) for one in work.candidates if work.standing(one).stage == "done"]
    against = judge.against or next(iter(done), "")
    found: list[JudgeResult] = []
    for name in done:
        if against in done and name != against:
            found.append(_one(work, judge, items, against, name))
            save(work.folder.path / "judged.json", found)
    if work.stop.is_set():
        raise Stopped


def _one(work: Work, judge: Judge, items: Sequence[Item], against: str, name: str) -> JudgeResult:
    prices = judge.prices
    meter = Meter(work.budget, name, prices, max_tokens=MAX_TOKENS, what="judging")
    theirs, ours = (in_order(items, work.folder.answers(one)) for one in (against, name))
    try:
        with meter:
            return judged(
                judge,
                items,
                ((against, theirs), (name, ours)),
                limits=work.bench.limits,
                journal=work.folder.candidate(name) / f"judged-against-{against}.jsonl",
                stop=work.over,
                meter=meter,
            )
    except (FineTuneError, OSError) as error:
        return JudgeResult.none(name, against, str(error))
