"""Pilots: short trainings of a candidate on some of the rows, for a search over settings and for the learning curve."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from finetune_sdk import registry
from finetune_sdk.compare.bench import Candidate, Range, Search
from finetune_sdk.compare.candidates import job_of, over
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.jobs import Jobs
from finetune_sdk.compare.metrics import Unfit
from finetune_sdk.compare.questions import Questions
from finetune_sdk.compare.searching import pilot_of, searched, winner
from finetune_sdk.compare.work import Work
from finetune_sdk.errors import RegistryError, SpecError

_COMBINATIONS = 100
"""Tried before a value is refused, at most."""


class Pilots:
    """The pilots of a comparison at work; each is a candidate like the others that the ranking does not show."""

    def __init__(self, work: Work, jobs: Jobs, questions: Questions) -> None:
        self._work, self._jobs, self._questions = work, jobs, questions

    def _run(self, pilots: Sequence[Candidate], share: float, items: Sequence[Item]) -> list[float | None]:
        """Train on a share of the rows, ask `items`, score by the deciding metric (higher is better). None = failed."""
        for one in pilots:
            self._jobs.on(one, share)
        self._jobs.train(pilots)
        self._work.each(lambda one: self._questions.ask(one, items, pilot=True), [(pilots, 1)])
        return [self._score(one, items) for one in pilots]

    def _score(self, pilot: Candidate, items: Sequence[Item]) -> float | None:
        if self._work.standing(pilot).stage != "done":
            return None
        metric, found = self._work.bench.metrics[0].chosen, self._work.folder.answers(str(pilot.name))
        answers = [found.get(item.id) or Answer(item=item.id, error="not asked") for item in items]
        try:
            return (1.0 if metric.higher_is_better else -1.0) * metric.measure(items, answers).score
        except Unfit:
            return None

    def search(self) -> Iterator[Candidate]:
        """The best setting of each search, as a candidate that has been trained if its last pilot had all rows."""
        for search in self._work.bench.search:
            items = self._work.parts.examples("validation")

            def score(
                candidates: Sequence[Candidate], share: float, items: Sequence[Item] = items
            ) -> list[float | None]:
                return self._run(candidates, share, items)

            found = searched(search, self._work.known(), search_log(self._work, search), score)
            if found is not None:
                self._adopt(found, pilot_of(search, self._work.known(), search_log(self._work, search)))
                yield found

    def _adopt(self, found: Candidate, pilot: Candidate | None) -> None:
        """The last pilot's job is the found candidate's: it had all rows, and is not trained, or paid for, twice."""
        standing = self._work.standing(found)
        if pilot is None or standing.job_id is not None:
            return
        before = self._work.standing(pilot)
        for name in ("job_id", "train_cost_usd", "train_s", "peak_memory_bytes"):
            setattr(standing, name, getattr(before, name))
        self._work.folder.save(str(found.name), standing)

    def curve(self, items: Sequence[Item]) -> None:
        """Every share of the learning curve, as pilots of one tuned candidate."""
        curve = self._work.bench.curve
        if curve is None:
            return
        for share in curve.shares:
            if share < 1.0:
                self._run([on_the_curve(self._work, share)], share, items)


def check(work: Work) -> None:
    """Raise `SpecError` for a provider, search, judge or curve that cannot be, before anything is trained."""
    for name, one in work.known().items():
        try:
            registry.load(one.provider, home=work.home)
        except RegistryError as error:
            raise SpecError(f"candidate {name!r}: {error}") from error
    tuned = [str(one.name) for one in work.candidates if one.tune is not None]
    listed = ", ".join(tuned) or "none"
    for search in work.bench.search:
        if search.candidate not in tuned:
            raise SpecError(f"search: there is no tuned candidate {search.candidate!r}; there are: {listed}")
        if not work.parts.rows("validation").exists():
            raise SpecError("search: settings are chosen on validation rows; give `data: validation: 0.1`")
        _check_settings(work, search)
    searched_ = [one.candidate for one in work.bench.search]
    if twice := [name for name in searched_ if searched_.count(name) > 1]:
        raise SpecError(f"search: {twice[0]!r} is searched twice; put all keys under one `over:`")
    if taken := [name for name in map(_found_name, searched_) if name in work.known()]:
        raise SpecError(f"search: what is found will be called {taken[0]!r}; give the candidate of that name another")
    names, judge = work.known(), work.bench.judge
    if judge is not None and judge.against is not None and judge.against not in (*names, *map(_found_name, tuned)):
        raise SpecError(f"judge: there is no candidate {judge.against!r}; there are: {', '.join(names)}")
    curve = work.bench.curve
    if curve is not None and (not tuned or curve.candidate not in (None, *tuned)):
        wanted = "" if curve.candidate is None else f" {curve.candidate!r}"
        raise SpecError(f"curve: there is no tuned candidate{wanted}; there are: {listed}")


def _check_settings(work: Work, search: Search) -> None:
    """Every value of every key in some job: a key nobody knows would fail all pilots, one after the other."""
    start = work.known()[search.candidate]
    values = {key: _to_try(space) for key, space in search.over.items()}
    for key in values:
        if key.partition(".")[0] in ("data", "provider", "metadata"):
            raise SpecError(f"search: {key!r} is the comparison's own, and cannot be searched over")
    if start.base_of is not None:
        return
    for key, several in values.items():
        for value in several:
            if (error := _refused(work, start, key, value, values)) is not None:
                raise SpecError(f"search: over {key!r}, value {value!r}: {error}") from error


def _refused(
    work: Work, start: Candidate, key: str, value: JsonValue, values: Mapping[str, Sequence[JsonValue]]
) -> SpecError | None:
    """Why a value makes no job, neither alone nor beside others; None where it does."""
    beside = itertools.product(*({**values, key: (value,)}).values())
    settings = ({key: value}, *(dict(zip(values, one, strict=True)) for one in itertools.islice(beside, _COMBINATIONS)))
    refusal: SpecError | None = None
    for setting in settings:
        tried = start.model_copy(update={"tune": over(start.tune or {}, setting)})
        try:
            job_of(work.bench, tried, {"train": str(work.parts.rows("train")), "format": "chat"})
        except SpecError as error:
            refusal = refusal or error
        else:
            return None
    return refusal


def _to_try(space: Range | Sequence[JsonValue]) -> Sequence[JsonValue]:
    """All choices, or what a range draws at its ends: a bound that is no whole number is never drawn exactly."""
    if not isinstance(space, Range):
        return space
    if space.whole:
        return (math.ceil(space.low), math.floor(space.high))
    inwards = (space.high - space.low) * 1e-6
    return (space.low + inwards, space.high - inwards)


def _found_name(candidate: str) -> str:
    return f"{candidate}-found"


def search_log(work: Work, search: Search) -> Path:
    """Where a search keeps its trials."""
    return work.folder.path / "searches" / f"{search.candidate}.json"


def found(work: Work) -> Iterator[Candidate]:
    """What searches that are over have found."""
    for search in work.bench.search:
        best = winner(search, work.known(), search_log(work, search))
        if best is not None:
            yield best


def rows_at(work: Work, share: float) -> int:
    """Training rows at a share."""
    return len(work.parts.share(share).read_bytes().splitlines())


def on_the_curve(work: Work, share: float) -> Candidate:
    """The candidate of the learning curve at a share of the rows: the named one, else the cheapest that was trained."""
    curve = work.bench.curve
    named = None if curve is None else curve.candidate
    chosen = _cheapest(work) if named is None else work.known()[named]
    return chosen if share >= 1.0 else chosen.model_copy(update={"name": f"{chosen.name}.rows-{share:g}"})


def _cheapest(work: Work) -> Candidate:
    """By price, then by time; chosen once, and kept in a file, so that another run goes on with the same one."""
    kept = work.folder.path / "curve.txt"
    tuned = {str(one.name): one for one in work.candidates if one.tune is not None}
    if kept.exists() and (name := kept.read_text(encoding="utf-8")) in tuned:
        return tuned[name]

    def price(one: Candidate) -> tuple[bool, float, float]:
        standing = work.standing(one)
        usd = standing.train_cost_usd
        return standing.stage != "done", float("inf") if usd is None else usd, standing.train_s or float("inf")

    chosen = min(tuned.values(), key=price)
    if work.standing(chosen).stage == "done":
        kept.write_text(str(chosen.name), encoding="utf-8")
    return chosen
