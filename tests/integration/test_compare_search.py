"""A search and a learning curve, really trained on tiny models of this machine, under a cap in money and in time."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from managed_envs import managed_home

from finetune_sdk.compare import Comparison, Results
from finetune_sdk.compare.state import answers_in
from finetune_sdk.job import FineTuneJob

WORDS = ("red", "blue", "green", "white")
CAP_USD = 1.0


def row(number: int) -> dict[str, str]:
    word = WORDS[number * 7 % 4]
    return {"prompt": f"{number} {word * (1 + number % 2)} thing no {number * 31 % 97}", "completion": word}


@dataclass(frozen=True)
class Ran:
    comparison: Comparison
    results: Results

    @property
    def trials(self) -> list[dict[str, Any]]:
        return json.loads((self.comparison.folder / "searches" / "lora.json").read_text())["trials"]

    @property
    def jobs(self) -> Sequence[FineTuneJob]:
        return FineTuneJob.list(home=self.comparison.home)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(90)))
    rate = {"low": 1e-6, "high": 3e-2, "log": True}
    bench: dict[str, Any] = {
        "name": "small",
        "data": {"train": str(folder / "rows.jsonl"), "test": 0.2, "validation": 0.2, "near": None},
        "metrics": ["accuracy", "perplexity", "bits_per_byte"],
        "base": {
            "model": "builtin/tiny", "seed": 0, "hyperparameters": {"max_steps": 8, "batch_size": 8},
            "compute": {"threads": 1},
        },
        "candidates": [{"name": "lora", "tune": {"hyperparameters": {"learning_rate": 0.003}}}, {"name": "plain"}],
        "max_tokens": 4,
        "search": [
            {
                "candidate": "lora", "over": {"hyperparameters.learning_rate": rate},
                "trials": 2, "factor": 2, "first_share": 0.5, "seed": 3,
            }
        ],
        "curve": {"candidate": "lora", "shares": [0.25, 0.5, 1.0]},
        "limits": {"max_cost_usd": CAP_USD, "max_hours": 1, "jobs": 2},
        "prices": {"peft": {"compute_per_hour": 0.5}},
    }  # fmt: skip
    comparison = Comparison(bench, home=managed_home(folder / "home"))
    return Ran(comparison, comparison.run())


def test_the_search_trains_all_on_few_rows_and_the_better_one_on_all(ran: Ran) -> None:
    scores = [trial["scores"] for trial in ran.trials]
    assert sorted(len(one) for one in scores) == [1, 2]
    assert max(scores, key=lambda one: one["0.5"]).keys() == {"0.5", "1.0"}


def test_what_the_search_found_is_a_candidate_like_the_others(ran: Ran) -> None:
    found = ran.results.candidate("lora-found")
    assert (found.stage, found.kind, "accuracy" in found.scores) == ("done", "tuned", True)


def test_the_winner_is_not_trained_a_second_time(ran: Ran) -> None:
    trained = sorted(str(job.record.spec["metadata"]["candidate"]) for job in ran.jobs)
    (last,) = (f"lora.t{trial['number']:02d}.1" for trial in ran.trials if len(trial["scores"]) == 2)
    assert trained == sorted(["lora", "lora.t00.0.5", "lora.t01.0.5", last, "lora.rows-0.25", "lora.rows-0.5"])


def test_the_learning_curve_has_a_score_for_each_share_and_foretells_more(ran: Ran) -> None:
    curve = ran.results.curve
    assert curve is not None
    train = ran.results.split.rows["train"]
    assert [point.rows for point in curve.points] == [round(train / 4), round(train / 2), train]
    assert curve.foretold_rows == 2 * train
    assert curve.gain is not None
    assert curve.gain_low is not None
    assert curve.gain_high is not None
    assert 0 <= curve.gain_low <= curve.gain <= curve.gain_high


def test_the_hours_of_the_machine_are_spent_money_and_below_the_cap(ran: Ran) -> None:
    hours = sum(job.record.usage.train_s or 0.0 for job in ran.jobs if job.record.usage is not None) / 3600
    assert hours * 0.5 <= (ran.results.spent_usd or 0.0) <= CAP_USD
    assert not ran.results.spent_unknown


def test_perplexity_is_measured_and_bits_per_byte_agree_with_it(ran: Ran) -> None:
    lines = (ran.comparison.folder / "split" / "test-items.jsonl").read_bytes().splitlines()
    size = sum(len(json.loads(line)["reference"]) for line in lines)
    for name in ("lora", "plain", "lora-found"):
        answers = answers_in(ran.comparison.folder / "candidates" / name / "answers.jsonl").values()
        loss = sum(one.nll or 0.0 for one in answers)
        tokens = sum(one.nll_tokens or 0 for one in answers)
        scores = ran.results.candidate(name).scores
        assert scores["perplexity"].value == pytest.approx(math.exp(loss / tokens))
        assert scores["bits_per_byte"].value == pytest.approx(loss / math.log(2) / size)


def test_tuning_lowers_the_perplexity(ran: Ran) -> None:
    plain, lora = (ran.results.candidate(name).scores["perplexity"].value for name in ("plain", "lora"))
    assert plain > 300  # of 1,100 tokens
    assert lora < plain / 2


def test_memory_of_training_and_of_serving_is_told(ran: Ran) -> None:
    found = ran.results.candidate("lora")
    assert (found.peak_memory_bytes or 0) > 10**8
    assert (found.serving_memory_bytes or 0) > 10**8


def test_a_second_run_trains_and_asks_nothing_more(ran: Ran) -> None:
    answers = sorted((ran.comparison.folder / "candidates").glob("*/answers.jsonl"))
    before = [path.read_bytes() for path in answers], {job.id for job in ran.jobs}
    ran.comparison.run()
    assert ([path.read_bytes() for path in answers], {job.id for job in ran.jobs}) == before


def test_the_page_shows_the_curve(ran: Ran) -> None:
    assert "Would more data help?" in (ran.comparison.folder / "report.html").read_text()
