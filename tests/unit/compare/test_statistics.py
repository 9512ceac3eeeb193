"""Intervals, tests and how many more items: checked by simulation, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from finetune_sdk.compare.statistics import Array, Measured, compare, holm, mean_of


def share(hits: Array) -> Measured:
    return Measured(parts=np.column_stack([hits, np.ones(len(hits))]), value=mean_of, mean=True, binary=True)


def average(scores: Array) -> Measured:
    return Measured(parts=np.column_stack([scores, np.ones(len(scores))]), value=mean_of, mean=True)


def binomial_bound(runs: int, rate: float) -> float:
    """The highest share that chance explains: four standard errors above the rate."""
    return rate + 4 * float(np.sqrt(rate * (1 - rate) / runs))


@pytest.mark.parametrize("candidates", [2, 6])
def test_without_a_true_difference_at_most_five_percent_of_comparisons_decide_anything(candidates: int) -> None:
    random, runs, decided = np.random.default_rng(7), 400, 0
    for run in range(runs):
        ease = random.random(120)
        measured = {
            str(name): share((ease + random.normal(0, 0.3, 120) < 0.6).astype(float)) for name in range(candidates)
        }
        decided += any(pair.decided for pair in compare(measured, seed=run, resamples=50).pairs)
    assert decided / runs <= binomial_bound(runs, 0.05)


def test_without_a_true_difference_graded_scores_decide_at_most_five_percent() -> None:
    random, runs, decided = np.random.default_rng(8), 300, 0
    for run in range(runs):
        ease = random.random(60)
        measured = {name: average(ease + random.exponential(1, 60)) for name in "ab"}
        decided += compare(measured, seed=run, resamples=400).pairs[0].decided
    assert decided / runs <= binomial_bound(runs, 0.05)


@pytest.mark.parametrize(("items", "skewed"), [(30, False), (30, True), (200, False), (200, True)])
def test_intervals_of_differences_cover_the_truth_at_their_rate(items: int, skewed: bool) -> None:
    random, runs, covered = np.random.default_rng(9), 300, 0
    for run in range(runs):
        ease = random.random(items)
        noise = random.exponential(1, (2, items)) if skewed else random.normal(0, 1, (2, items))
        measured = {"a": average(ease + noise[0]), "b": average(ease + noise[1] + 0.3)}
        pair = compare(measured, seed=run, resamples=600).pairs[0]
        assert pair.low is not None
        assert pair.high is not None
        covered += pair.low <= 0.3 <= pair.high
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / runs) <= covered / runs


def test_intervals_of_a_share_cover_the_truth_at_their_rate() -> None:
    random, runs, covered = np.random.default_rng(10), 400, 0
    for run in range(runs):
        bounds = compare({"a": share((random.random(80) < 0.7).astype(float))}, seed=run, resamples=600).intervals["a"]
        assert bounds is not None
        covered += bounds[0] <= 0.7 <= bounds[1]
    assert covered / runs >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / runs)


def test_the_named_number_of_further_items_does_decide_in_four_of_five_runs() -> None:
    random = np.random.default_rng(11)
    first, second = (random.random(200) < 0.70).astype(float), (random.random(200) < 0.74).astype(float)
    pair = compare({"a": share(first), "b": share(second)}, seed=0).pairs[0]
    assert pair.more_items is not None
    items, won = 200 + pair.more_items, 0
    rates = first.mean(), second.mean()
    for run in range(200):
        again = {
            name: share((random.random(items) < rate).astype(float)) for name, rate in zip("ab", rates, strict=True)
        }
        won += compare(again, seed=run, resamples=20).pairs[0].decided
    assert 0.68 <= won / 200 <= 0.92


@pytest.mark.parametrize("items", [1, 3, 5])
def test_so_many_items_are_asked_for_that_the_test_could_decide_at_all(items: int) -> None:
    pair = compare({"a": share(np.zeros(items)), "b": share(np.ones(items))}, seed=0).pairs[0]
    assert pair.more_items == 6 - items  # 2 / 2^6 is the first below 0.05
    assert compare({"a": share(np.zeros(6)), "b": share(np.ones(6))}, seed=0).pairs[0].decided


def test_more_items_are_asked_for_where_more_pairs_are_compared() -> None:
    first, second = np.arange(40) % 2 == 0, np.arange(40) % 20 > 8
    two = {"a": share(first.astype(float)), "b": share(second.astype(float))}
    many = {**two, **{str(index): share(first.astype(float)) for index in range(4)}}
    alone, among = (compare(one, seed=0).pairs[0] for one in (two, many))
    assert alone.more_items is not None
    assert among.more_items is not None
    assert among.p_adjusted == 1.0
    assert among.more_items > 1.5 * alone.more_items


def test_pairs_are_paired_so_that_hard_items_do_not_hide_a_small_steady_gain() -> None:
    random = np.random.default_rng(12)
    ease = random.normal(0, 10, 100)
    pair = compare({"a": average(ease), "b": average(ease + 0.5 + random.normal(0, 0.1, 100))}, seed=0).pairs[0]
    assert pair.decided
    assert pair.low is not None
    assert pair.low > 0.4


def test_equal_answers_decide_nothing_and_no_number_of_items_would() -> None:
    hits = (np.arange(50) % 3 == 0).astype(float)
    pair = compare({"a": share(hits), "b": share(hits)}, seed=0).pairs[0]
    assert (pair.difference, pair.decided, pair.more_items) == (0.0, False, None)


def test_a_difference_on_every_item_still_has_an_interval() -> None:
    pair = compare({"a": share(np.zeros(40)), "b": share(np.ones(40))}, seed=0).pairs[0]
    assert pair.low is not None
    assert pair.high is not None
    assert 0.8 < pair.low < pair.high <= 1.0


def test_holms_correction_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_reference_is_compared_with_every_other_candidate_only() -> None:
    measured = {name: share((np.arange(30) % (index + 2) == 0).astype(float)) for index, name in enumerate("abc")}
    assert [(one.first, one.second) for one in compare(measured, seed=0, reference="b").pairs] == [
        ("b", "a"),
        ("b", "c"),
    ]


def test_candidates_measured_on_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        compare({"a": share(np.ones(3)), "b": share(np.ones(4))}, seed=0)


def test_the_same_seed_gives_the_same_numbers() -> None:
    random = np.random.default_rng(13)
    measured = {name: average(random.random(40)) for name in "ab"}
    assert compare(measured, seed=3) == compare(measured, seed=3)
