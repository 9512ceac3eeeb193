"""Searches and learning curves: which pilots are run, what is kept of them, what is foretold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from finetune_sdk.compare.bench import Candidate, Range, Search
from finetune_sdk.compare.curve import foretold
from finetune_sdk.compare.searching import rounds, searched, winner
from finetune_sdk.compare.statistics import Measured, mean_of
from finetune_sdk.errors import SpecError

START = Candidate(name="lora", tune={"adapter": "lora"})
KNOWN = {"lora": START, "plain": Candidate(name="plain")}
RATES = Search(candidate="lora", over={"hyperparameters.learning_rate": Range(low=1e-5, high=1e-2, log=True)}, trials=9)


class Pilots:
    """Scores that are best at a learning rate of 1e-3, and what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.scores: list[float] = []

    def __call__(self, candidates: Sequence[Candidate], share: float) -> list[float]:
        return [self.score(one, share) for one in candidates]

    def score(self, candidate: Candidate, share: float) -> float:
        self.asked.append((str(candidate.name), share))
        tune = candidate.tune or {}
        hyperparameters = tune["hyperparameters"]
        assert isinstance(hyperparameters, dict)
        rate = hyperparameters["learning_rate"]
        assert isinstance(rate, float)
        self.scores.append(-abs(float(np.log10(rate)) + 3))
        return self.scores[-1]


def nothing(candidates: Sequence[Candidate], _share: float) -> list[None]:
    return [None] * len(candidates)


def test_the_best_third_goes_on_to_three_times_as_many_rows(tmp_path: Path) -> None:
    pilots = Pilots()
    searched(RATES, KNOWN, tmp_path / "log.json", pilots)
    shares = [share for _, share in pilots.asked]
    assert rounds(RATES) == (0.2, 0.6, 1.0)
    assert [shares.count(share) for share in (0.2, 0.6, 1.0)] == [9, 3, 1]


def test_what_is_found_is_the_best_of_the_trials(tmp_path: Path) -> None:
    pilots = Pilots()
    found = searched(RATES, KNOWN, tmp_path / "log.json", pilots)
    assert found is not None
    assert found.name == "lora-found"
    assert pilots.score(found, 1.0) == max(pilots.scores)
    assert winner(RATES, KNOWN, tmp_path / "log.json") == found


def test_a_search_that_was_interrupted_asks_only_for_the_rounds_that_are_missing(tmp_path: Path) -> None:
    whole = Pilots()
    searched(RATES, KNOWN, tmp_path / "whole.json", whole)

    class Interrupted(Pilots):
        def __call__(self, candidates: Sequence[Candidate], share: float) -> list[float]:
            if self.asked:
                raise KeyboardInterrupt
            return super().__call__(candidates, share)

    first, second = Interrupted(), Pilots()
    with pytest.raises(KeyboardInterrupt):
        searched(RATES, KNOWN, tmp_path / "log.json", first)
    searched(RATES, KNOWN, tmp_path / "log.json", second)
    assert first.asked + second.asked == whole.asked


def test_pilots_that_failed_are_tried_again_as_long_as_nothing_was_found(tmp_path: Path) -> None:
    assert searched(RATES, KNOWN, tmp_path / "log.json", nothing) is None
    assert searched(RATES, KNOWN, tmp_path / "log.json", Pilots()) is not None


def test_a_failed_pilot_does_not_go_on(tmp_path: Path) -> None:
    assert searched(RATES, KNOWN, tmp_path / "log.json", nothing) is None


def test_without_halving_every_trial_has_all_rows(tmp_path: Path) -> None:
    pilots = Pilots()
    searched(RATES.model_copy(update={"halving": False}), KNOWN, tmp_path / "log.json", pilots)
    assert [share for _, share in pilots.asked] == [1.0] * 9


def test_a_search_over_a_candidate_that_is_not_tuned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no tuned candidate 'plain'; there are: lora"):
        searched(RATES.model_copy(update={"candidate": "plain"}), KNOWN, tmp_path / "log.json", Pilots())


def share(hits: int, items: int = 400) -> Measured:
    parts = np.column_stack([np.arange(items) < hits, np.ones(items)]).astype(float)
    return Measured(parts=parts, value=mean_of, mean=True, binary=True)


def test_a_rising_curve_foretells_a_gain_within_its_interval() -> None:
    measured = {100: share(200), 200: share(250), 400: share(285), 800: share(310)}
    found = foretold("lora", measured, times=2.0, seed=0, unit=100, higher=True, title="accuracy")
    assert [point.rows for point in found.points] == [100, 200, 400, 800]
    assert found.foretold_rows == 1600
    assert found.gain is not None
    assert found.gain_low is not None
    assert found.gain_high is not None
    assert 0.02 < found.gain < 0.08
    assert found.gain_low <= found.gain <= found.gain_high
    assert found.sentence.startswith("With 1,600 training rows about ")


def test_a_flat_curve_foretells_next_to_nothing() -> None:
    measured = {100: share(300), 200: share(300), 400: share(300)}
    found = foretold("lora", measured, times=4.0, seed=0, unit=100, higher=True, title="accuracy")
    assert found.gain == pytest.approx(0.0, abs=1e-9)


def test_a_share_is_never_foretold_above_all() -> None:
    measured = {100: share(200), 200: share(300), 400: share(390)}
    found = foretold("lora", measured, times=100.0, seed=0, unit=100, higher=True, title="accuracy")
    assert found.gain is not None
    assert found.gain <= 1 - 390 / 400 + 0.05
    assert found.points[-1].score.value + found.gain <= 1.0 + 0.05
