"""The outcome in plain words, and never more than the intervals allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from finetune_sdk.compare.results import CandidateResult, PairResult


def verdict(
    candidates: Sequence[CandidateResult],
    pairs: Sequence[PairResult],
    *,
    metric: str,
    title: str,
    unit: float,
    higher: bool,
) -> tuple[str, tuple[str, ...]]:
    """The summary sentence, and those after it. `candidates` are in order of `metric`, best first."""
    ranked = [one for one in candidates if metric in one.scores]
    if not ranked:
        return "No candidate was scored.", tuple(_lost(candidates, metric))
    say = _Words([one for one in pairs if one.metric == metric], title, unit, higher=higher)
    if len(ranked) == 1:
        only = ranked[0]
        return f"Only {only.name} was scored: {say.score(only, metric)}.", tuple(_lost(candidates, metric))
    if all(one.failed == one.items > 0 for one in ranked):
        why = next(iter(ranked[0].errors), "no answer")
        return f"Nobody answered a single question: {why}", tuple(_lost(candidates, metric))
    best, *rest = ranked
    rivals = [one for one in rest if say.compared(best.name, one.name)] or rest  # a reference: it alone
    more = (*say.others(best, rivals[1:]), *say.apart(ranked, rivals[0].name))
    return say.pair(best.name, rivals[0].name), (*more, *_worth_it(say, ranked), *_lost(candidates, metric))


class _Words:
    """Pairs of one metric as sentences."""

    def __init__(self, pairs: Sequence[PairResult], title: str, unit: float, *, higher: bool) -> None:
        self._pairs = {(one.first, one.second): one for one in pairs}
        self._title, self._unit, self._higher = title, unit, higher

    def score(self, candidate: CandidateResult, metric: str) -> str:
        score = candidate.scores[metric]
        bounds = ""
        if score.low is not None and score.high is not None:
            bounds = f" (95 % {self._number(score.low)} to {self._number(score.high)})"
        return f"{self._title} {self._number(score.value)}{bounds}"

    def pair(self, better: str, worse: str) -> str:
        """What is known of two candidates, of which the first looks better."""
        found = self._pairs.get((worse, better))
        turned = found is None
        found = found or self._pairs.get((better, worse))
        if found is None:
            return f"{better} and {worse} were not compared with each other."
        sign = (-1 if turned else 1) * (1 if self._higher else -1)
        by, low, high = _signed(found, sign)
        bounds = "" if low is None or high is None else f" (95 % {self._amount(low)} to {self._amount(high)})"
        if found.decided and by > 0:
            return f"{better} beats {worse} by {self._amount(by)} {self._points}{bounds}."
        if by == 0 and not (found.won or found.lost):
            return f"{better} and {worse} score the same on every item: {self._title} cannot tell them apart."
        head = f"Not decisive between {better} and {worse}: {self._amount(by)} {self._points} apart{bounds}"
        if found.more_items is None:
            return f"{head}; no number of test rows would settle a difference of nothing."
        return f"{head}; about {found.more_items:,} more test rows would settle it."

    def others(self, best: CandidateResult, rest: Sequence[CandidateResult]) -> Iterator[str]:
        """The leader against the rest, those it beats in one sentence."""
        beaten = [one.name for one in rest if self._decided(best.name, one.name)]
        if beaten:
            yield f"{best.name} also beats {_list(beaten)}."
        yield from (self.pair(best.name, one.name) for one in rest[:3] if one.name not in beaten)

    def apart(self, ranked: Sequence[CandidateResult], reference: str) -> Iterator[str]:
        """Those that were not compared with the leader, but with the bench's reference only."""
        names = [one.name for one in ranked]
        rest = [name for name in names[1:] if name != reference and not self.compared(names[0], name)]
        if rest:
            yield f"The others were compared with {reference} only, as the bench asks."
        yield from (self.pair(*sorted((name, reference), key=names.index)) for name in rest[:3])

    def compared(self, one: str, two: str) -> bool:
        return (one, two) in self._pairs or (two, one) in self._pairs

    def _decided(self, better: str, worse: str) -> bool:
        found = self._pairs.get((worse, better)) or self._pairs.get((better, worse))
        return found is not None and found.decided

    @property
    def _points(self) -> str:
        return f"points of {self._title}" if self._unit == 100 else f"of {self._title}"

    def _amount(self, value: float) -> str:
        return f"{value * self._unit:.1f}" if self._unit != 1 or abs(value) >= 1 else f"{value:.3f}"

    def _number(self, value: float) -> str:
        return f"{value * self._unit:.1f}" + (" %" if self._unit == 100 else "")


def _signed(pair: PairResult, sign: int) -> tuple[float, float | None, float | None]:
    by = sign * pair.difference
    if pair.low is None or pair.high is None:
        return by, None, None
    low, high = sorted((sign * pair.low, sign * pair.high))
    return by, low, high


def _worth_it(say: _Words, ranked: Sequence[CandidateResult]) -> Iterator[str]:
    """Tuned against the best that is not tuned: the question this is all about."""
    tuned = next((one for one in ranked if one.kind == "tuned"), None)
    plain = next((one for one in ranked if one.kind != "tuned"), None)
    if tuned is None or plain is None:
        return
    if not say.compared(tuned.name, plain.name):
        yield f"Whether tuning is worth it is open: {say.pair(tuned.name, plain.name)}"
    elif ranked.index(tuned) < ranked.index(plain):
        said = say.pair(tuned.name, plain.name)
        decided = " beats " in said
        yield ("Tuning is worth it here: " if decided else "Whether tuning is worth it is open: ") + said
    else:
        said = say.pair(plain.name, tuned.name)
        yield ("Tuning is not worth it here: " if " beats " in said else "Tuning brought nothing that shows: ") + said


def _lost(candidates: Sequence[CandidateResult], metric: str) -> Iterator[str]:
    for one in candidates:
        if metric in one.unfit:
            yield f"{one.name} has no {metric}: {one.unfit[metric]}"
        if one.stage in ("failed", "over budget"):
            yield f"{one.name} {'failed' if one.stage == 'failed' else 'was left out'}: {one.error}"
        elif one.failed:
            yield f"{one.name} did not answer {one.failed:,} of {one.items:,} questions; they count as wrong."


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
