"""What a candidate costs in training and in use, and from which volume tuning pays. Unknown stays unknown."""

from __future__ import annotations

from collections.abc import Sequence

from finetune_sdk.compare.bench import Prices
from finetune_sdk.compare.items import Answer
from finetune_sdk.compare.results import CandidateResult, Costs
from finetune_sdk.compare.state import Standing

HOURS_PER_MONTH = 730.0


def costs(
    prices: Prices, answers: Sequence[Answer], standing: Standing, *, per_month: int | None, tuned: bool
) -> Costs:
    """From the tokens that were counted and the prices that are known."""
    unknown: list[str] = []
    per_request = _per_request(prices, answers, unknown)
    asked = [one for one in answers if one.error is None]
    hosting = prices.hosting_per_hour
    machine = prices.compute_per_hour
    monthly_hosting = None if hosting is None and machine is None else (hosting or 0.0) * HOURS_PER_MONTH
    if machine is not None:
        monthly_hosting = (monthly_hosting or 0.0) + machine * HOURS_PER_MONTH
    if monthly_hosting is None and per_request is None:
        unknown.append("hosting")
    training, basis = _training(prices, standing, tuned=tuned)
    if training is None:
        unknown.append("training")
    month = None
    if per_month is not None and per_request is not None:
        month = per_request * per_month + (monthly_hosting or 0.0)
    return Costs(
        training=training,
        training_basis=basis,
        evaluation=None if per_request is None else per_request * len(asked),
        per_1k_requests=None if per_request is None else per_request * 1000,
        hosting_per_month=monthly_hosting,
        per_month=month,
        unknown=tuple(unknown),
    )


def _per_request(prices: Prices, answers: Sequence[Answer], unknown: list[str]) -> float | None:
    """Mean price of a question; on a machine paid by the hour the tokens are free."""
    if prices.input_per_mtok is None and prices.output_per_mtok is None:
        if prices.compute_per_hour is not None:
            return 0.0
        unknown += ["input_per_mtok", "output_per_mtok"]
        return None
    counted = [one for one in answers if one.prompt_tokens is not None and one.completion_tokens is not None]
    if not counted:
        unknown.append("tokens per request (the server counts none)")
        return None
    if prices.input_per_mtok is None or prices.output_per_mtok is None:
        unknown.append("input_per_mtok" if prices.input_per_mtok is None else "output_per_mtok")
        return None
    read = sum(one.prompt_tokens or 0 for one in counted) / len(counted)
    written = sum(one.completion_tokens or 0 for one in counted) / len(counted)
    return (read * prices.input_per_mtok + written * prices.output_per_mtok) / 1e6


def _training(prices: Prices, standing: Standing, *, tuned: bool) -> tuple[float | None, str]:
    if not tuned:
        return 0.0, "not tuned"
    if standing.train_cost_usd is not None and standing.train_cost_usd > 0:
        return standing.train_cost_usd, "the provider's estimate before training"
    if prices.compute_per_hour is not None and standing.train_s is not None:
        return prices.compute_per_hour * standing.train_s / 3600, "machine hours"
    if standing.train_cost_usd is not None:
        return standing.train_cost_usd, "the provider charges nothing; your machine's hours have no price here"
    return None, "unknown"


def break_even(tuned: CandidateResult, other: CandidateResult) -> tuple[float | None, str]:
    """Requests per month from which `tuned` is the cheaper one, and the sentence about it. None = never, or unknown."""
    ours, theirs = tuned.costs, other.costs
    if ours.per_1k_requests is None or theirs.per_1k_requests is None:
        missing = tuned.name if ours.per_1k_requests is None else other.name
        return None, f"Break-even of {tuned.name} against {other.name}: unknown, for want of prices of {missing}."
    saved = (theirs.per_1k_requests - ours.per_1k_requests) / 1000
    fixed = (ours.hosting_per_month or 0.0) - (theirs.hosting_per_month or 0.0)
    if saved <= 0 and fixed >= 0:
        return None, f"{tuned.name} never becomes cheaper than {other.name}: a request costs it at least as much."
    if fixed <= 0 <= saved:
        return 0.0, f"{tuned.name} is cheaper than {other.name} at any volume{_repaid(tuned, saved)}."
    if saved <= 0:
        most = fixed / saved
        return None, f"{tuned.name} is cheaper than {other.name} up to {most:,.0f} requests a month only."
    volume = fixed / saved  # how soon training is repaid depends on the volume beyond it
    return volume, f"{tuned.name} is cheaper than {other.name} from {volume:,.0f} requests a month on{_once(tuned)}."


def _usd(amount: float) -> str:
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.2g}"


def _once(tuned: CandidateResult) -> str:
    training = tuned.costs.training
    if training is None:
        return " (training, of unknown cost, not counted)"
    return f"; its training costs {_usd(training)} USD once" if training > 0 else ""


def _repaid(tuned: CandidateResult, saved: float) -> str:
    training = tuned.costs.training
    if training is None:
        return " (training, of unknown cost, not counted)"
    return f"; its training is repaid after {training / saved:,.0f} requests" if training > 0 and saved > 0 else ""
