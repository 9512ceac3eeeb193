"""What a comparison found: plain records, JSON by `Results.json`. Computed from the answers on disk, asking nobody."""

from __future__ import annotations

import msgspec

from finetune_sdk.compare.split import Frozen


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate by a metric."""

    value: float
    low: float | None = None
    """95 % interval; None = the items do not support one."""
    high: float | None = None


class PairResult(msgspec.Struct, frozen=True, kw_only=True):
    """Second against first by one metric; see `statistics.Pair`."""

    metric: str
    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p_value: float
    p_adjusted: float
    decided: bool
    more_items: int | None
    won: int
    """Items the second has right and the first has not."""
    lost: int


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it answered, in seconds; None = not seen."""

    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    first_token_p50_s: float | None = None
    answers_per_s: float | None = None
    """With as many questions in flight as the bench allows."""
    requests: int = 0
    """In flight at a time."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """In USD; None = unknown, which is never 0."""

    training: float | None = None
    training_basis: str = ""
    evaluation: float | None = None
    per_1k_requests: float | None = None
    hosting_per_month: float | None = None
    per_month: float | None = None
    """At the bench's `requests_per_month`, hosting included, training not."""
    unknown: tuple[str, ...] = ()
    """Which prices are missing."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a slice key."""

    key: str
    value: str
    items: int
    score: Score | None


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """The forgetting meter."""

    items: int
    agreement: float
    """Mean chrF (0 to 100) of its answers with those of its base model on the neutral sample: 100 = nothing changed."""
    loss_before: float | None = None
    """Per token, of the neutral sample; None = the deployment gives no log-probabilities."""
    loss_after: float | None = None
    refusals_before: int = 0
    refusals_after: int = 0
    empty_after: int = 0
    notes: tuple[str, ...] = ()


class TaskScore(msgspec.Struct, frozen=True, kw_only=True):
    """A task of the lm-evaluation-harness by one of its metrics."""

    task: str
    metric: str
    value: float
    stderr: float | None = None
    """As the harness reckons it; None = it does not say."""
    items: int | None = None
    higher_is_better: bool | None = None


class CandidateResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one candidate."""

    name: str
    kind: str
    """tuned, base, or given (it answered already)."""
    provider: str
    model: str
    prompt: str
    stage: str
    error: str | None = None
    scores: dict[str, Score] = {}
    unfit: dict[str, str] = {}
    """Metrics that could not be computed, with the reason."""
    items: int = 0
    failed: int = 0
    """Questions that ended in an error; they count as wrong."""
    errors: dict[str, int] = {}
    """The errors by text."""
    again: int = 0
    """Questions that were answered only when asked again."""
    cut: int = 0
    """Answers that ended at `max_tokens`."""
    speed: Speed = Speed()
    costs: Costs = Costs()
    prompt_tokens: float | None = None
    """Mean per question."""
    completion_tokens: float | None = None
    train_s: float | None = None
    peak_memory_bytes: int | None = None
    """Of training; None = not measured."""
    serving_memory_bytes: int | None = None
    """Of the process that answered; None = not measured, as everywhere but on this machine."""
    joules_per_1k: float | None = None
    """Of this machine's processors for a thousand requests; None = not measured."""
    slices: tuple[Slice, ...] = ()
    confusion: dict[str, dict[str, int]] | None = None
    losses: tuple[tuple[int, float], ...] = ()
    """(step, training loss)."""
    drift: Drift | None = None
    tasks: tuple[TaskScore, ...] = ()
    """Of the lm-evaluation-harness, where the bench asks for them."""
    job_id: str | None = None
    receipt: str | None = None
    """sha256 of the job's receipt."""
    notes: tuple[str, ...] = ()


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One item with everybody's answer, for the flips browser."""

    id: str
    question: str
    reference: str
    answers: dict[str, str]
    right: dict[str, float]
    """Score of each candidate on this item, 0 to 1."""
    slices: dict[str, str] = {}


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """One share of the training rows."""

    rows: int
    score: Score


class CurveResult(msgspec.Struct, frozen=True, kw_only=True):
    """Does more data help?"""

    candidate: str
    points: tuple[CurvePoint, ...]
    foretold_rows: int | None = None
    gain: float | None = None
    """Foretold change of the score at `foretold_rows`, from all rows."""
    gain_low: float | None = None
    gain_high: float | None = None
    sentence: str = ""


class JudgeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate judged against another."""

    candidate: str
    against: str
    won: int
    lost: int
    tied: int
    """Including those where the judge changed its mind with the order."""
    inconsistent: int
    nonsense: int
    """Replies that named neither answer; not counted."""
    failed: int
    share: Score | None
    """Of decided items won; None = nothing was decided."""
    p_value: float | None
    error: str | None = None
    """Why nothing was judged, or not all of it."""

    @classmethod
    def none(cls, candidate: str, against: str, error: str) -> JudgeResult:
        """Nothing was judged."""
        counts = dict.fromkeys(("won", "lost", "tied", "inconsistent", "nonsense", "failed"), 0)
        return cls(candidate=candidate, against=against, **counts, share=None, p_value=None, error=error)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The whole outcome."""

    name: str
    bench_sha256: str
    sdk: str
    created: str
    split: Frozen
    metric: str
    """The deciding one."""
    titles: dict[str, str]
    units: dict[str, float]
    higher: dict[str, bool]
    candidates: tuple[CandidateResult, ...]
    """Best first."""
    pairs: tuple[PairResult, ...]
    summary: str
    """The first sentence of the report."""
    findings: tuple[str, ...] = ()
    """The further sentences."""
    shown: tuple[Shown, ...] = ()
    curve: CurveResult | None = None
    judged: tuple[JudgeResult, ...] = ()
    requests_per_month: int | None = None
    spent_usd: float | None = None
    spent_unknown: bool = False
    took_s: float | None = None

    def json(self) -> bytes:
        """The file `report.json`."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    def candidate(self, name: str) -> CandidateResult:
        """By name. Raises `KeyError`."""
        return next(one for one in self.candidates if one.name == name)
