"""Numbers as a person reads them."""

from __future__ import annotations

from finetune_sdk.compare.results import CandidateResult, Results, Score

NONE = "\u2013"
"""Shown where there is nothing to show."""
KINDS = {"tuned": "tuned", "base": "base model", "given": "answers already"}


def number(results: Results, metric: str, value: float) -> str:
    """A score in the metric's own unit: 0.914 of accuracy is 91.4."""
    unit = results.units[metric]
    return f"{value * unit:.1f}" if unit == 100 or abs(value) >= 10 else f"{value:.3g}"


def score(results: Results, metric: str, found: Score | None) -> str:
    """A score with its interval."""
    if found is None:
        return NONE
    text = number(results, metric, found.value)
    if found.low is None or found.high is None:
        return text
    return f"{text} ({number(results, metric, found.low)} to {number(results, metric, found.high)})"


def seconds(value: float | None) -> str:
    if value is None:
        return NONE
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole // 3600} h {whole % 3600 // 60} min" if whole >= 3600 else f"{whole // 60} min {whole % 60} s"


def usd(value: float | None) -> str:
    """Money; what is unknown is never 0."""
    if value is None:
        return "unknown"
    return "0" if value == 0 else f"${value:,.4f}" if value < 0.1 else f"${value:,.2f}"


def memory(value: int | None) -> str:
    return NONE if value is None else f"{value / 2**30:.2f} GiB"


def energy(joules: float | None) -> str:
    return NONE if joules is None else f"{joules / 3600:.3g} Wh"


def told(candidate: CandidateResult) -> str:
    """What a candidate is, in a line."""
    provider = "" if candidate.kind == "given" else candidate.provider
    what = [provider, candidate.model, KINDS[candidate.kind]]
    return " · ".join(part for part in (*what, candidate.prompt) if part)
