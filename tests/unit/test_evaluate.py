"""Scores from predictions."""

from __future__ import annotations

import json
import math
import random
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_sdk.errors import DataError
from finetune_sdk.evaluate import Evaluated, evaluate_predictions
from finetune_sdk.evaluate.intervals import Rate, macro_f1, mcnemar, paired_difference, wilson
from finetune_sdk.spec import MetricName

Score = Callable[..., Evaluated]


@pytest.fixture
def score(tmp_path: Path) -> Score:
    def _score(rows: Iterable[Mapping[str, Any]], *metrics: MetricName) -> Evaluated:
        path = tmp_path / "predictions.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return evaluate_predictions(path, metrics or ("exact_match",))

    return _score


def answer(expected: str, base: str | None, tuned: str | None, row: int = 0) -> dict[str, Any]:
    return {
        "row": row,
        "prompt": [{"role": "user", "content": "q"}],
        "expected": expected,
        "base": base,
        "tuned": tuned,
    }


# --- scores ---------------------------------------------------------------------------------------------------------


def test_exact_match_ignores_white_space_around_the_answer_and_nothing_else(score: Score) -> None:
    found = score([answer("joy", "Joy", " joy\n"), answer("joy", "joy.", "joy")])
    base, tuned = found.metric("exact_match").base, found.metric("exact_match").tuned
    assert base is not None
    assert tuned is not None
    assert (base.value, tuned.value) == (0.0, 1.0)


def test_accuracy_also_forgives_case_quotes_and_a_full_stop(score: Score) -> None:
    tuned = score([answer("joy", None, t) for t in ("Joy", '"joy"', "joy.", "joy to")], "accuracy").metric("accuracy")
    assert tuned.tuned is not None
    assert tuned.tuned.value == 0.75


def test_macro_f1_is_the_mean_over_the_expected_labels(score: Score) -> None:
    # a: 2 of 3 found, one answer too many; b: 1 of 2 found, one too many; "x" is no label
    rows = [answer(e, None, t) for e, t in [("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"), ("b", "x")]]
    metric = score(rows, "macro_f1").metric("macro_f1")
    assert metric.tuned is not None
    assert metric.tuned.value == pytest.approx((2 * 2 / (3 + 2) + 2 * 1 / (2 + 2)) / 2)


def test_each_label_has_its_own_scores_and_the_confusion_is_kept(score: Score) -> None:
    rows = [answer(e, None, t) for e, t in [("a", "a"), ("a", "b"), ("b", "b"), ("b", "x")]]
    found = score(rows, "macro_f1")
    assert [(label.label, label.rows, label.tuned.recall if label.tuned else None) for label in found.labels] == [
        ("a", 2, 0.5),
        ("b", 2, 0.5),
    ]
    assert found.confusion == {"a": {"a": 1, "b": 1}, "b": {"b": 1, "": 1}}


def test_perplexity_is_per_token_over_all_rows(score: Score) -> None:
    rows = [
        {"prompt": "x", "base_nll": 4.0, "tuned_nll": 2.0, "tokens": 2},
        {"prompt": "y", "base_nll": 6.0, "tuned_nll": 1.0, "tokens": 8},
    ]
    metric = score(rows, "perplexity").metric("perplexity")
    assert metric.base is not None
    assert metric.tuned is not None
    assert metric.change is not None
    assert metric.base.value == pytest.approx(math.exp(1.0))
    assert metric.tuned.value == pytest.approx(math.exp(0.3))
    assert metric.change.value == pytest.approx(math.exp(-0.7))


def test_a_missing_answer_counts_as_wrong_and_is_noted(score: Score) -> None:
    found = score([answer("a", "a", "a"), answer("a", "a", None)])
    tuned = found.metric("exact_match").tuned
    assert tuned is not None
    assert (tuned.value, tuned.rows) == (0.5, 2)
    assert "1 rows have no answer of the tuned model; they count as wrong" in found.notes


def test_without_a_baseline_nothing_is_compared(score: Score) -> None:
    found = score([answer("a", None, "a")])
    metric = found.metric("exact_match")
    assert (metric.base, metric.change, found.flips) == (None, None, None)


def test_flips_count_what_changed_row_by_row(score: Score) -> None:
    pairs = [("a", "a")] * 4 + [("x", "a")] * 3 + [("a", "x")] * 2 + [("x", "x")]
    flips = score([answer("a", base, tuned) for base, tuned in pairs]).flips
    assert flips is not None
    assert (flips.kept, flips.won, flips.lost, flips.missed) == (4, 3, 2, 1)


def test_free_prompts_are_shown_and_not_scored(score: Score) -> None:
    free = {"prompt": "say hi", "expected": None, "base": "hm", "tuned": "hi"}
    found = score([free, answer("a", "a", "a")])
    assert found.rows == 1
    assert (found.samples[0].outcome, found.samples[0].prompt) == ("free", "say hi")


def test_samples_show_won_and_lost_rows_with_their_numbers(score: Score) -> None:
    found = score([answer("a", "a", "x", row=7), *(answer("a", "x", "a", row=row) for row in range(20))])
    assert [sample.row for sample in found.samples if sample.outcome == "lost"] == [7]
    assert [sample.row for sample in found.samples if sample.outcome == "won"] == [0, 1, 2, 3, 4]


def test_the_share_of_the_most_frequent_answer_is_told(score: Score) -> None:
    assert score([answer(e, None, "a") for e in ("a", "a", "a", "b")]).majority_share == 0.75


def test_many_different_answers_are_texts_not_labels(score: Score) -> None:
    found = score([answer(f"text {n}", None, f"text {n}") for n in range(300)], "exact_match", "macro_f1")
    assert found.metric("macro_f1").tuned is None
    assert any("macro_f1 needs labels" in note for note in found.notes)


def test_few_rows_are_noted(score: Score) -> None:
    assert any("only 3 held-out rows" in note for note in score([answer("a", "a", "a")] * 3).notes)


def test_a_conversation_is_shown_with_its_roles(score: Score) -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    (sample,) = score([{**answer("a", "a", "a"), "prompt": prompt}]).samples
    assert sample.prompt == "system: Be brief.\nuser: Hi"


def test_an_empty_file_has_no_scores(score: Score) -> None:
    found = score([], "exact_match", "accuracy", "macro_f1", "perplexity")
    assert found.rows == 0
    assert all(metric.base is None and metric.tuned is None for metric in found.metrics)


def test_a_broken_row_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps(answer("a", "b", "c")) + '\n{"prompt": 3}\n')
    with pytest.raises(DataError, match=r"p\.jsonl:2: not a row of predictions"):
        evaluate_predictions(tmp_path / "p.jsonl", ("exact_match",))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        evaluate_predictions(tmp_path / "p.jsonl", ("exact_match",))


def test_the_result_is_json(score: Score) -> None:
    found = score([answer("a", "b", "a")] * 40, "exact_match", "macro_f1", "perplexity")
    metrics = json.loads(json.dumps(found.json()))["metrics"]
    assert [(metric["name"], metric["verdict"]) for metric in metrics] == [
        ("exact_match", "better"),
        ("macro_f1", "not tested"),
        ("perplexity", "not tested"),
    ]


@pytest.mark.parametrize(
    ("won", "lost", "verdict"), [(20, 0, "better"), (0, 20, "worse"), (6, 5, "not decided"), (0, 0, "not decided")]
)
def test_the_verdict_says_no_more_than_the_interval_allows(score: Score, won: int, lost: int, verdict: str) -> None:
    rows = [answer("a", "x", "a")] * won + [answer("a", "a", "x")] * lost + [answer("a", "a", "a")] * 20
    assert score(rows).metric("exact_match").verdict == verdict


def test_a_change_of_macro_f1_is_judged_by_the_intervals_of_both(score: Score) -> None:
    rows = [answer("ab"[n % 2], "ab"[n // 5 % 2], "ab"[n % 2 if n % 10 else 1]) for n in range(200)]
    metric = score(rows, "macro_f1").metric("macro_f1")
    assert metric.change is not None
    assert metric.change.low is not None
    assert 0 < metric.change.low < metric.change.value
    assert metric.verdict == "better"


def test_a_lower_perplexity_is_better(score: Score) -> None:
    rows = [{"prompt": "", "base_nll": 4.0 + n % 3, "tuned_nll": 2.0 + n % 2, "tokens": 2} for n in range(20)]
    assert score(rows, "perplexity").metric("perplexity").verdict == "better"


def test_a_file_is_scored_without_being_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(answer(f"text {n}", "x" * 200, "y" * 200)) + "\n" for n in range(6000))
    tracemalloc.start()
    evaluate_predictions(path, ("exact_match", "accuracy", "macro_f1"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size > 2_500_000
    assert peak < 500_000


# --- intervals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "rows", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_table(hits: int, rows: int, low: float, high: float) -> None:
    """Newcombe 1998, Stat. Med. 17:857, table I, method 3."""
    assert wilson(hits, rows) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((54, 0, 0, 0), -0.0664, 0.0664), ((0, 54, 0, 0), 0.9069, 1.0)],
)
def test_the_paired_interval_agrees_with_the_published_table(
    counts: tuple[int, int, int, int], low: float, high: float
) -> None:
    """Newcombe 1998, Stat. Med. 17:2635, table III, method 10 (his difference is first minus second)."""
    both, lost, won, neither = counts
    found = paired_difference(both=both, won=won, lost=lost, neither=neither)
    assert (-found[1], -found[0]) == pytest.approx((low, high), abs=1.5e-3)


@pytest.mark.parametrize(("won", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (9, 1, 0.021484375), (3, 3, 1.0)])
def test_mcnemar_is_the_exact_sign_test(won: int, lost: int, p: float) -> None:
    assert mcnemar(won, lost) == pytest.approx(p)
    assert mcnemar(lost, won) == pytest.approx(p)


def test_mcnemar_answers_for_very_many_rows() -> None:
    assert mcnemar(60_000, 50_000) < 1e-100


@given(st.integers(1, 400), st.data())
def test_an_interval_holds_its_share(rows: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, rows))
    low, high = wilson(hits, rows)
    assert 0 <= low <= hits / rows + 1e-12
    assert hits / rows - 1e-12 <= high <= 1


@given(st.tuples(*[st.integers(0, 60)] * 4).filter(any))
def test_the_paired_interval_holds_the_difference_and_turns_with_the_sides(counts: tuple[int, int, int, int]) -> None:
    both, won, lost, neither = counts
    low, high = paired_difference(both=both, won=won, lost=lost, neither=neither)
    turned = paired_difference(both=both, won=lost, lost=won, neither=neither)
    assert -1 <= low <= (won - lost) / sum(counts) + 1e-9
    assert (won - lost) / sum(counts) - 1e-9 <= high <= 1
    assert (-turned[1], -turned[0]) == pytest.approx((low, high))


def test_the_interval_of_macro_f1_covers_as_often_as_it_says() -> None:
    """95 % of intervals from simulated samples hold the true value, give or take."""
    cells: list[tuple[str, str | None]] = [("a", "a"), ("a", "b"), ("b", "b"), ("b", "a"), ("c", "c"), ("c", None)]
    weights = [30, 10, 20, 10, 20, 10]
    truth, _ = macro_f1(dict(zip(cells, weights, strict=True)), ["a", "b", "c"])
    chance, covered, trials = random.Random(0), 0, 300
    for _ in range(trials):
        table = dict.fromkeys(cells, 0)
        for cell in chance.choices(cells, weights, k=200):
            table[cell] += 1
        _, interval = macro_f1(table, ["a", "b", "c"])
        covered += interval is not None and interval[0] <= truth <= interval[1]
    assert 0.92 <= covered / trials <= 0.98


def test_macro_f1_of_a_perfect_table_has_no_interval() -> None:
    assert macro_f1({("a", "a"): 3, ("b", "b"): 2}, ["a", "b"]) == (1.0, None)


def test_the_interval_of_a_rate_covers_as_often_as_it_says() -> None:
    chance, covered, trials = random.Random(0), 0, 300
    for _ in range(trials):
        rate = Rate()
        for _ in range(100):
            tokens = chance.randint(1, 20)
            rate.add(tokens * chance.gauss(2.0, 1.0), tokens)
        assert rate.interval is not None
        covered += rate.interval[0] <= 2.0 <= rate.interval[1]
    assert 0.91 <= covered / trials <= 0.98


def test_a_rate_of_one_row_has_no_interval() -> None:
    rate = Rate()
    rate.add(3.0, 2.0)
    assert (rate.value, rate.interval) == (1.5, None)
