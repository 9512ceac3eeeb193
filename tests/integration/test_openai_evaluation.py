"""Base and tuned model asked through the chat API on held-out rows: the same report as of a local job, paid once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.openai.provider import OpenAIProvider
from wire import stub
from wire.helpers import MODEL, chat_rows, job_spec, write

from finetune_sdk.errors import BudgetExceeded, QuotaExceeded, SpecError, Unsupported
from finetune_sdk.job import FineTuneJob
from finetune_sdk.provider import Plan
from finetune_sdk.spec import Budget, JobSpec

HELD_OUT = 6


def _says(model: str, messages: list[dict[str, Any]]) -> str | None:
    """The base model knows nothing; the tuned one was trained well."""
    number = int(messages[-1]["content"].removeprefix("What follows ").rstrip("?"))
    return str(number + 1) if model.startswith("ft:") else "no idea"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(script=("queued", "succeeded"), says=_says)) as running:
        yield running
        assert running.service.violations == []


def evaluated(folder: Path, url: str, **evaluation: Any) -> JobSpec:
    base = job_spec(folder, url, evaluation=evaluation)
    held_out = write(folder / "test.jsonl", chat_rows(30)[-HELD_OUT:])
    return base.model_copy(update={"data": base.data.model_copy(update={"test": held_out})})


def run(folder: Path, url: str, **evaluation: Any) -> FineTuneJob:
    job = FineTuneJob.submit(evaluated(folder, url, **evaluation), home=folder / "home")
    job.wait(poll_s=0.001)
    return job


def asked(service: stub.Running) -> list[str]:
    return [one.body["model"] for one in service.service.requests if one.path == "/chat/completions"]


def test_base_and_tuned_model_are_compared_on_the_held_out_rows(service: stub.Running, tmp_path: Path) -> None:
    metric = run(tmp_path, service.url).evaluation().metric("exact_match")
    assert metric.base is not None
    assert metric.tuned is not None
    assert (metric.base.value, metric.tuned.value, metric.tuned.rows) == (0.0, 1.0, HELD_OUT)


def test_the_predictions_have_the_rows_of_a_local_jobs_file(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url, prompts=["What follows 41?"])
    job.evaluation()
    (found,) = (one for one in job.artifacts() if one.kind == "predictions")
    first, *_, last = [json.loads(line) for line in Path(found.uri).read_text().splitlines()]
    assert first.keys() == {
        *("row", "source", "prompt", "expected", "base", "tuned", "base_nll", "tuned_nll", "tokens"),
    }
    assert (first["expected"], first["base"], first["tuned"], first["source"]["line"]) == ("25", "no idea", "25", 1)
    assert (last["expected"], last["tuned"]) == (None, "42")


def test_an_evaluation_is_paid_once(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url)
    first = job.evaluation()
    assert (job.evaluation(), len(asked(service))) == (first, 2 * HELD_OUT)


def test_what_was_answered_before_it_broke_off_is_not_asked_again(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url)
    service.service.chat_quota = 5
    with pytest.raises(QuotaExceeded):
        job.evaluation()
    service.service.chat_quota = None
    job.evaluation()
    assert len(asked(service)) - service.service.chats_refused == 2 * HELD_OUT


def test_a_throttled_evaluation_waits_and_goes_on(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url)
    service.service.failures += ["chat throttled"] * 5
    assert job.evaluation().rows == HELD_OUT


def test_without_a_baseline_only_the_tuned_model_is_asked(service: stub.Running, tmp_path: Path) -> None:
    run(tmp_path, service.url, baseline=False, max_rows=2).evaluation()
    assert [name.startswith("ft:") for name in asked(service)] == [True, True]


def test_an_answer_that_the_filter_stops_counts_as_wrong(service: stub.Running, tmp_path: Path) -> None:
    service.service.says = lambda model, messages: None if "25" in str(messages) else _says(model, messages)
    metric = run(tmp_path, service.url).evaluation().metric("exact_match")
    assert metric.tuned is not None
    assert metric.tuned.value == pytest.approx((HELD_OUT - 1) / HELD_OUT)


def test_changing_the_data_after_submission_changes_no_evaluation(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url)
    (tmp_path / "test.jsonl").unlink()
    assert job.evaluation().rows == HELD_OUT


def test_rows_of_the_validation_file_are_asked_where_there_is_no_test_file(
    service: stub.Running, tmp_path: Path
) -> None:
    base = job_spec(tmp_path, service.url, evaluation={})
    held_out = write(tmp_path / "validation.jsonl", chat_rows(15)[-3:])
    spec = base.model_copy(update={"data": base.data.model_copy(update={"validation": held_out})})
    job = FineTuneJob.submit(spec, home=tmp_path / "home")
    job.wait(poll_s=0.001)
    assert job.evaluation().rows == 3


def test_a_forgotten_job_leaves_nothing_of_its_evaluation(service: stub.Running, tmp_path: Path) -> None:
    job = run(tmp_path, service.url)
    job.evaluation()
    job.remove()
    assert [path for path in (tmp_path / "home").rglob("*") if "evaluation" in str(path) and path.is_file()] == []


# --- the plan


def plan_of(folder: Path, model: str = "gpt-4o-mini-2024-07-18", **evaluation: Any) -> Plan:
    spec = evaluated(folder, "https://api.openai.com/v1", **evaluation).model_copy(update={"model": model})
    return OpenAIProvider(home=folder / "home").plan(spec)


def test_the_plan_counts_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    alone = plan_of(tmp_path, max_new_tokens=1).cost.usd
    more = plan_of(tmp_path, max_new_tokens=100_000).cost
    assert alone is not None
    assert more.usd is not None
    longest = HELD_OUT * (100_000 - 1) * (0.60 + 1.20) / 1e6  # base and tuned model, per million answered tokens
    assert more.usd - alone == pytest.approx(longest)
    assert f"{HELD_OUT} questions to base and tuned model" in more.basis


def test_an_evaluation_at_unknown_prices_makes_the_cost_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    cost = plan_of(tmp_path, MODEL).cost
    assert (cost.usd, "unknown" in cost.basis) == (None, True)


def test_the_budget_counts_the_evaluation(service: stub.Running, tmp_path: Path) -> None:
    spec = evaluated(tmp_path, service.url).model_copy(update={"budget": Budget(max_cost_usd=100.0)})
    priced = {"base_url": service.url, "price_per_million_tokens": 1.0}
    spec = spec.model_copy(update={"options": {"openai": priced}})
    with pytest.raises(BudgetExceeded, match="evaluation"):
        FineTuneJob.submit(spec, home=tmp_path / "home")
    assert service.service.jobs == {}


def test_perplexity_is_refused_because_the_chat_api_tells_no_likelihoods(service: stub.Running, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="perplexity"):
        FineTuneJob.plan(evaluated(tmp_path, service.url, metrics=["perplexity"]), home=tmp_path / "home")


def test_an_evaluation_on_nothing_is_refused(service: stub.Running, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="held-out rows"):
        FineTuneJob.plan(job_spec(tmp_path, service.url, evaluation={}), home=tmp_path / "home")
