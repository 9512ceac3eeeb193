"""What is said about scores and money: never more than is known."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_sdk.compare.bench import Prices
from finetune_sdk.compare.costs import break_even, costs
from finetune_sdk.compare.items import Answer
from finetune_sdk.compare.results import CandidateResult, Costs, PairResult, Score
from finetune_sdk.compare.state import Standing
from finetune_sdk.compare.verdict import verdict


def candidate(name: str, value: float, kind: str = "base", **more: Any) -> CandidateResult:
    scores = {"accuracy": Score(value=value)}
    return CandidateResult(
        name=name, kind=kind, provider="peft", model="m", prompt="zero-shot", stage="done", scores=scores, **more
    )


def pair(first: str, second: str, difference: float, *, decided: bool, more: int | None = None) -> PairResult:
    return PairResult(
        metric="accuracy",
        first=first,
        second=second,
        difference=difference,
        low=difference - 0.037,
        high=difference + 0.037,
        p_value=0.001,
        p_adjusted=0.001 if decided else 0.2,
        decided=decided,
        more_items=more,
        won=9,
        lost=2,
    )


def said(candidates: list[CandidateResult], *pairs: PairResult) -> tuple[str, tuple[str, ...]]:
    return verdict(candidates, pairs, metric="accuracy", title="accuracy", unit=100, higher=True)


def test_a_decided_pair_is_told_with_its_interval() -> None:
    found, _ = said([candidate("b", 0.8), candidate("a", 0.739)], pair("a", "b", 0.061, decided=True))
    assert found == "b beats a by 6.1 points of accuracy (95 % 2.4 to 9.8)."


def test_an_open_pair_names_the_rows_that_would_settle_it() -> None:
    found, _ = said([candidate("b", 0.8), candidate("a", 0.79)], pair("a", "b", 0.01, decided=False, more=180))
    assert found.startswith("Not decisive between b and a: 1.0 points of accuracy apart")
    assert found.endswith("about 180 more test rows would settle it.")


def test_the_leader_is_measured_against_the_reference_where_the_bench_names_one() -> None:
    ranked = [candidate("b", 0.9), candidate("a", 0.85), candidate("plain", 0.5)]
    pairs = pair("plain", "a", 0.35, decided=True), pair("plain", "b", 0.4, decided=True)
    found, further = said(ranked, *pairs)
    assert found.startswith("b beats plain by 40.0 points")
    assert further[0] == "The others were compared with plain only, as the bench asks."
    assert further[1].startswith("a beats plain by 35.0 points")


def test_what_was_not_compared_leaves_open_whether_tuning_is_worth_it() -> None:
    ranked = [candidate("shots", 0.9), candidate("lora", 0.85, "tuned"), candidate("plain", 0.5)]
    _, found = said(ranked, pair("plain", "lora", 0.35, decided=True), pair("plain", "shots", 0.4, decided=True))
    open_ = "Whether tuning is worth it is open: lora and shots were not compared with each other."
    assert [text for text in found if "uning" in text] == [open_]


def test_the_order_of_a_pair_does_not_change_what_is_said() -> None:
    ranked = [candidate("b", 0.8), candidate("a", 0.739)]
    assert said(ranked, pair("a", "b", 0.061, decided=True)) == said(ranked, pair("b", "a", -0.061, decided=True))


@pytest.mark.parametrize(
    ("kinds", "decided", "start"),
    [
        (("tuned", "base"), True, "Tuning is worth it here: "),
        (("tuned", "base"), False, "Whether tuning is worth it is open: "),
        (("base", "tuned"), True, "Tuning is not worth it here: "),
        (("base", "tuned"), False, "Tuning brought nothing that shows: "),
    ],
)
def test_whether_tuning_is_worth_it_is_said_as_far_as_it_is_known(
    kinds: tuple[str, str], decided: bool, start: str
) -> None:
    ranked = [candidate("b", 0.8, kinds[0]), candidate("a", 0.7, kinds[1])]
    _, findings = said(ranked, pair("a", "b", 0.1, decided=decided, more=None if decided else 50))
    assert any(text.startswith(start) for text in findings)


def test_candidates_that_failed_are_named() -> None:
    lost = CandidateResult(name="c", kind="tuned", provider="p", model="m", prompt="", stage="failed", error="no GPU")
    _, findings = said([candidate("b", 0.8), candidate("a", 0.7), lost], pair("a", "b", 0.1, decided=True))
    assert "c failed: no GPU" in findings


ANSWERS = [Answer(item=str(index), text="x", prompt_tokens=100, completion_tokens=10) for index in range(4)]


def test_the_price_of_a_request_comes_from_the_tokens_that_were_counted() -> None:
    prices = Prices(input_per_mtok=2.0, output_per_mtok=8.0)
    found = costs(prices, ANSWERS, Standing(), per_month=1000, tuned=False)
    assert found.per_1k_requests == pytest.approx(0.28)
    assert found.per_month == pytest.approx(0.28)
    assert found.training == 0.0


def test_an_unknown_price_is_named_and_is_no_zero() -> None:
    found = costs(Prices(), ANSWERS, Standing(), per_month=1000, tuned=True)
    assert (found.per_1k_requests, found.per_month, found.training) == (None, None, None)
    assert {"input_per_mtok", "output_per_mtok", "training"} <= set(found.unknown)


def test_a_machine_by_the_hour_pays_for_training_and_hosting() -> None:
    found = costs(
        Prices(compute_per_hour=0.5), ANSWERS, Standing(train_cost_usd=0.0, train_s=7200), per_month=1000, tuned=True
    )
    assert found.training == pytest.approx(1.0)
    assert found.hosting_per_month == found.per_month == pytest.approx(365.0)


def priced(name: str, per_1k: float | None, hosting: float, training: float | None = None) -> CandidateResult:
    return candidate(name, 0.5, costs=Costs(per_1k_requests=per_1k, hosting_per_month=hosting, training=training))


@pytest.mark.parametrize(
    ("ours", "theirs", "volume", "said"),
    [
        (
            priced("t", 0.1, 365.0, 20.0),
            priced("f", 1.0, 0.0),
            365 / 0.0009,
            "from 405,556 requests a month on; its training costs 20.00 USD once.",
        ),
        (priced("t", 0.1, 0.0, 9.0), priced("f", 1.0, 0.0), 0.0, "repaid after 10,000 requests"),
        (priced("t", 1.0, 10.0, 9.0), priced("f", 1.0, 0.0), None, "never becomes cheaper"),
        (priced("t", None, 0.0), priced("f", 1.0, 0.0), None, "unknown, for want of prices of t"),
    ],
)
def test_the_break_even_volume_is_reckoned_from_hosting_and_tokens(
    ours: CandidateResult, theirs: CandidateResult, volume: float | None, said: str
) -> None:
    found, sentence = break_even(ours, theirs)
    assert found == (None if volume is None else pytest.approx(volume))
    assert said in sentence
