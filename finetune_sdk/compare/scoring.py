"""From answers to results: every metric, every pair, every slice. Reads what is on disk and asks nobody."""

from __future__ import annotations

import statistics as stats
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from finetune_sdk.compare.bench import Bench, Candidate
from finetune_sdk.compare.candidates import model_of, prices_of
from finetune_sdk.compare.costs import costs
from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics import Chosen, Unfit, chosen
from finetune_sdk.compare.metrics.labels import confusion
from finetune_sdk.compare.results import CandidateResult, PairResult, Score, Shown, Slice, Speed
from finetune_sdk.compare.state import Standing
from finetune_sdk.compare.statistics import Array, Measured, Pair, compare
from finetune_sdk.errors import SpecError

_SHOWN_ITEMS = 1_000
_SHOWN_LETTERS = 600
_SLICES = 24  # values of one key that are shown; the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A candidate with its answers, one per item and in their order."""

    candidate: Candidate
    standing: Standing
    answers: Sequence[Answer]

    @property
    def name(self) -> str:
        return str(self.candidate.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """All candidates by all metrics."""

    scores: Mapping[str, Mapping[str, Score]]
    """By candidate and metric."""
    unfit: Mapping[str, Mapping[str, str]]
    pairs: tuple[PairResult, ...]
    by_item: Mapping[str, Array]
    """Each candidate's score on each item by the deciding metric, 0 to 1."""


def in_order(items: Sequence[Item], found: Mapping[str, Answer]) -> list[Answer]:
    """The answers in the order of the items; a question that was never answered is an error like any other."""
    return [found.get(item.id) or Answer(item=item.id, error="not asked") for item in items]


def score(bench: Bench, items: Sequence[Item], answered: Sequence[Answered]) -> Scored:
    """Every metric on every candidate. A metric that does not fit says why, and the others go on."""
    scores: dict[str, dict[str, Score]] = {one.name: {} for one in answered}
    unfit: dict[str, dict[str, str]] = {one.name: {} for one in answered}
    pairs: list[PairResult] = []
    for spec in bench.metrics:
        metric = spec.chosen
        measured = _measured(metric, items, answered, unfit)
        reference = bench.reference if bench.reference in measured else None
        standing = compare(measured, seed=bench.seed, reference=reference)
        for name, one in measured.items():
            low, high = standing.intervals[name] or (None, None)
            scores[name][metric.key] = Score(value=one.score, low=low, high=high)
        pairs += [_pair(metric, one, measured) for one in standing.pairs]
    return Scored(scores=scores, unfit=unfit, pairs=tuple(pairs), by_item=_by_item(bench, items, answered))


def _measured(
    metric: Chosen, items: Sequence[Item], answered: Sequence[Answered], unfit: Mapping[str, dict[str, str]]
) -> dict[str, Measured]:
    found: dict[str, Measured] = {}
    for one in answered:
        try:
            found[one.name] = metric.measure(items, one.answers)
        except Unfit as error:
            unfit[one.name][metric.key] = str(error)
    return found


def _pair(metric: Chosen, pair: Pair, measured: Mapping[str, Measured]) -> PairResult:
    one, two = _items_of(measured[pair.first]), _items_of(measured[pair.second])
    won = lost = 0
    if one is not None and two is not None:
        better = two > one if metric.higher_is_better else two < one
        worse = two < one if metric.higher_is_better else two > one
        won, lost = int(better.sum()), int(worse.sum())
    return PairResult(
        metric=metric.key,
        first=pair.first,
        second=pair.second,
        difference=pair.difference,
        low=pair.low,
        high=pair.high,
        p_value=pair.p_value,
        p_adjusted=pair.p_adjusted,
        decided=pair.decided,
        more_items=pair.more_items,
        won=won,
        lost=lost,
    )


def _items_of(measured: Measured) -> Array | None:
    """The score of each item; None for metrics of the whole corpus."""
    return measured.parts[:, 0] / measured.parts[:, 1] if measured.mean else None


def _by_item(bench: Bench, items: Sequence[Item], answered: Sequence[Answered]) -> dict[str, Array]:
    """By the first metric that has a score per item; exact match where none has."""
    for metric in (*(spec.chosen for spec in bench.metrics), chosen("exact_match", {})):
        found: dict[str, Array] = {}
        for one in answered:
            try:
                scores = _items_of(metric.measure(items, one.answers))
            except Unfit:
                break
            if scores is None or not metric.higher_is_better:
                break
            found[one.name] = scores
        if len(found) == len(answered):
            return found
    return {}


# --- one candidate --------------------------------------------------------------------------------------------------


def candidate_result(
    bench: Bench, items: Sequence[Item], one: Answered, scored: Scored, known: Mapping[str, Candidate]
) -> CandidateResult:
    """Everything that the answers and the state tell about a candidate. `known`: all candidates by name."""
    standing, candidate = one.standing, one.candidate
    errors = Counter(answer.error for answer in one.answers if answer.error)
    good = [answer for answer in one.answers if not answer.error]
    return CandidateResult(
        name=one.name,
        kind="given" if candidate.at else "tuned" if candidate.tune is not None else "base",
        provider=candidate.provider,
        model=model_name(bench, candidate, standing, known),
        prompt=_style(candidate),
        stage=standing.stage,
        error=standing.error,
        scores=dict(scored.scores.get(one.name, {})),
        unfit=dict(scored.unfit.get(one.name, {})),
        items=len(items),
        failed=errors.total(),
        errors=dict(errors.most_common(5)),
        again=sum(answer.tries > 1 for answer in good),
        cut=sum(answer.finish == "length" for answer in good),
        speed=_speed(good, standing, bench.limits.requests),
        costs=costs(
            prices_of(bench, candidate),
            one.answers,
            standing,
            per_month=bench.requests_per_month,
            tuned=candidate.tune is not None,
        ),
        prompt_tokens=_mean([answer.prompt_tokens for answer in good]),
        completion_tokens=_mean([answer.completion_tokens for answer in good]),
        train_s=standing.train_s,
        peak_memory_bytes=standing.peak_memory_bytes,
        serving_memory_bytes=standing.serving_memory_bytes,
        joules_per_1k=standing.asking_j / len(good) * 1000 if standing.asking_j is not None and good else None,
        slices=tuple(_slices(bench, items, one)),
        confusion=confusion(items, one.answers) if _labelled(bench) else None,
        job_id=standing.job_id,
        notes=tuple(standing.notes),
    )


def model_name(bench: Bench, candidate: Candidate, standing: Standing, known: Mapping[str, Candidate]) -> str:
    """The base model as the bench names it: that of another candidate, where `base_of` says so."""
    if candidate.at is not None:
        return candidate.at.model
    try:
        return model_of(bench, known.get(candidate.base_of or "", candidate))
    except SpecError:
        return standing.model or ""


def _style(candidate: Candidate) -> str:
    prompt, said = candidate.prompt, list[str]()
    if prompt.system is not None:
        said.append("own instruction")
    if prompt.few_shot is not None:
        said.append(f"{prompt.few_shot.k} {prompt.few_shot.choose} examples")
    if prompt.retrieve is not None:
        said.append(f"{prompt.retrieve} passages")
    return ", ".join(said) or "zero-shot"


def _labelled(bench: Bench) -> bool:
    return any(spec.name in ("accuracy", "macro_f1") for spec in bench.metrics)


def _speed(good: Sequence[Answer], standing: Standing, requests: int) -> Speed:
    took = sorted(one.latency_s for one in good if one.latency_s is not None)
    first = [one.first_token_s for one in good if one.first_token_s is not None]
    asking = standing.asking_s
    return Speed(
        p50_s=_quantile(took, 0.5),
        p95_s=_quantile(took, 0.95),
        p99_s=_quantile(took, 0.99),
        first_token_p50_s=stats.median(first) if first else None,
        answers_per_s=len(took) / asking if asking and took else None,
        requests=requests,
    )


def _quantile(values: Sequence[float], share: float) -> float | None:
    return values[min(len(values) - 1, int(share * len(values)))] if values else None


def _mean(values: Sequence[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _slices(bench: Bench, items: Sequence[Item], one: Answered) -> list[Slice]:
    metric = bench.metrics[0].chosen
    found: list[Slice] = []
    for key in bench.slices:
        values = Counter(item.slices[key] for item in items if key in item.slices)
        for value, count in values.most_common(_SLICES):
            kept = [index for index, item in enumerate(items) if item.slices.get(key) == value]
            found.append(
                Slice(key=key, value=value, items=count, score=_score_of(metric, items, one.answers, kept, bench.seed))
            )
    return found


def _score_of(
    metric: Chosen, items: Sequence[Item], answers: Sequence[Answer], kept: Sequence[int], seed: int
) -> Score | None:
    try:
        measured = metric.measure([items[index] for index in kept], [answers[index] for index in kept])
    except Unfit:
        return None
    low, high = compare({"": measured}, seed=seed, resamples=1_000).intervals[""] or (None, None)
    return Score(value=measured.score, low=low, high=high)


def shown(items: Sequence[Item], answered: Sequence[Answered], scored: Scored) -> tuple[Shown, ...]:
    """Items for the flips browser: those that candidates answer differently come first."""

    def spread(index: int) -> float:
        values = [float(scores[index]) for scores in scored.by_item.values()]
        return max(values) - min(values) if values else 0.0

    order = sorted(range(len(items)), key=lambda index: -spread(index))[:_SHOWN_ITEMS]
    return tuple(_shown(items[index], index, answered, scored) for index in order)


def _shown(item: Item, index: int, answered: Sequence[Answered], scored: Scored) -> Shown:
    wanted = item.reference if item.reference is not None else msgspec.json.encode(item.calls).decode()
    return Shown(
        id=item.id,
        question=_short(item.question),
        reference=_short(wanted),
        answers={one.name: _short(_said(one.answers[index])) for one in answered},
        right={name: round(float(scores[index]), 4) for name, scores in scored.by_item.items()},
        slices=item.slices,
    )


def _said(answer: Answer) -> str:
    if answer.error:
        return f"[error: {answer.error}]"
    if answer.calls:
        return msgspec.json.encode(answer.calls).decode()
    return answer.text or ""


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…"
