"""A submission starts one job, whatever is lost and whoever is killed. The long proof: tests/wire/exactly_once.py."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from finetune_providers.openai import journal
from finetune_providers.openai.provider import OpenAIProvider
from wire import stub
from wire.helpers import chat_rows, job_spec, write
from wire.proxy import FAULTS, Plan, creating, proxying

from finetune_sdk.errors import (
    Ambiguous,
    AuthFailed,
    DataError,
    FineTuneError,
    PermissionRefused,
    ProviderError,
    QuotaExceeded,
    StoreError,
    Throttled,
    Unreachable,
    WrongStatus,
)
from finetune_sdk.spec import JobSpec

RUNS = 6
"""Seeds tried with every run of the suite; the published figure has more."""
LATE = replace(FAULTS["late"], late_s=60)
"""Arrives after the second attempt, however slow the machine is."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(script=("queued",))) as running:
        yield running
        assert running.service.violations == []


@pytest.fixture
def provider(tmp_path: Path) -> OpenAIProvider:
    return OpenAIProvider(home=tmp_path / "home")


def spec_through(port: int, folder: Path, *, timeout_s: float = 60) -> JobSpec:
    """A job that is sent through the proxy."""
    return job_spec(folder, f"http://127.0.0.1:{port}/v1", options={"timeout_s": timeout_s})


def test_killed_at_random_steps_over_a_spoiled_line_there_is_one_job_and_the_store_knows_it() -> None:
    script = Path(__file__).parents[1] / "wire" / "exactly_once.py"
    done = subprocess.run(
        [sys.executable, str(script), "--runs", str(RUNS), "--timeout", "10"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["sound"] == RUNS


FOUND_OR_SENT_AGAIN = [name for name in FAULTS if name not in ("out of quota", "late")]


@pytest.mark.parametrize("fault", FOUND_OR_SENT_AGAIN)
def test_one_fault_on_the_creating_request_ends_in_one_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, fault: str
) -> None:
    plan = Plan([FAULTS[fault]])
    with proxying(service.port, plan) as port:
        spec = spec_through(port, tmp_path, timeout_s=10 if FAULTS[fault].stall_s else 60)
        ref = provider.submit(provider.plan(spec), key="ft-1")
        assert [job["id"] for job in service.service.alive] == [ref.rpartition("#")[2]]
        assert plan.hits[0] == fault


def test_a_request_that_arrives_late_is_cancelled_while_that_is_free(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    with proxying(service.port, Plan([LATE])) as port:
        ref = provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
        while len(service.service.jobs) < 2:  # the late one is on its way
            time.sleep(0.01)
        provider.poll(ref)
        assert [job["id"] for job in service.service.alive] == [ref.rpartition("#")[2]]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("out of quota", QuotaExceeded),
        ("429 before", Throttled),
        ("dropped before", Ambiguous),
        ("500 before", Ambiguous),
        ("page before", Ambiguous),
    ],
)
def test_a_fault_that_does_not_go_away_ends_in_one_error_and_no_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, fault: str, error: type[FineTuneError]
) -> None:
    with proxying(service.port, Plan([FAULTS[fault]], for_ever=True)) as port:
        with pytest.raises(error) as caught:
            provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
        assert (service.service.jobs, stub.KEY in str(caught.value)) == ({}, False)


def test_a_job_whose_late_twin_cannot_be_cancelled_is_a_job_all_the_same(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    refused = Plan([FAULTS["500 before"]], concerns=lambda _method, path: path.endswith("/cancel"), for_ever=True)
    with proxying(service.port, Plan([LATE])) as inner, proxying(inner, refused) as port:
        ref = provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
        while len(service.service.jobs) < 2:  # the late one is on its way
            time.sleep(0.01)
        assert provider.poll(ref).raw_status == "queued"


def test_the_record_of_a_created_job_that_cannot_be_written_is_a_doubt_and_not_a_failure(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = journal.Journal.save

    def full(self: journal.Journal, **changes: object) -> journal.Journal:
        if "job" in changes:
            raise StoreError("no space left on device")
        return save(self, **changes)

    monkeypatch.setattr(journal.Journal, "save", full)
    with pytest.raises(Ambiguous, match="ftjob-"):
        provider.submit(provider.plan(job_spec(tmp_path, service.url)), key="ft-1")
    monkeypatch.undo()
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    assert provider.find("ft-1") is not None


def test_the_permanent_quota_error_costs_one_request(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    plan = Plan([FAULTS["out of quota"]], for_ever=True)
    with proxying(service.port, plan) as port, pytest.raises(QuotaExceeded):
        provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
    assert len(plan.hits) == 1


def test_a_list_that_lags_behind_is_read_again_before_anything_is_sent_again(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.list_lag = 2
    plan = Plan([FAULTS["dropped after"]])
    with proxying(service.port, plan) as port:
        provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
    assert (len(plan.hits), len(service.service.jobs)) == (1, 1)


def test_a_local_clock_that_is_an_hour_off_hides_no_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.clock -= 3600
    with proxying(service.port, Plan([FAULTS["dropped after"]])) as port:
        provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
    assert len(service.service.jobs) == 1


def test_a_proxy_that_drops_metadata_hides_no_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.drops_metadata = True
    with proxying(service.port, Plan([FAULTS["dropped after"]])) as port:
        provider.submit(provider.plan(spec_through(port, tmp_path)), key="ft-1")
    assert len(service.service.jobs) == 1


def test_a_lost_upload_reply_is_no_second_file(service: stub.Running, provider: OpenAIProvider, tmp_path: Path) -> None:
    uploads = Plan([FAULTS["dropped after"]] * 4, concerns=lambda method, path: method == "POST" and "files" in path)
    with proxying(service.port, uploads) as port:
        plan = provider.plan(spec_through(port, tmp_path))
        with pytest.raises(Unreachable):
            provider.submit(plan, key="ft-1")
        files = len(service.service.files)
        provider.submit(plan, key="ft-1")
    assert (len(service.service.files), len(service.service.jobs)) == (files, 1)


def test_submitting_again_with_the_same_key_is_the_same_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    plan = provider.plan(job_spec(tmp_path, service.url))
    assert provider.submit(plan, key="ft-1") == provider.submit(plan, key="ft-1")
    assert len(service.service.jobs) == 1


def test_two_keys_are_two_jobs_although_the_data_are_the_same(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    plan = provider.plan(job_spec(tmp_path, service.url))
    assert provider.submit(plan, key="ft-1") != provider.submit(plan, key="ft-2")


def test_only_one_process_at_a_time_submits_a_job(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    plan = provider.plan(job_spec(tmp_path, service.url))
    with journal.alone(tmp_path / "home" / "jobs" / "ft-1", "openai"), pytest.raises(WrongStatus, match="ft-1"):
        provider.submit(plan, key="ft-1")


def test_the_creating_request_is_sent_once_and_without_retries(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    provider.submit(provider.plan(job_spec(tmp_path, service.url)), key="ft-1")
    posts = [one for one in service.service.requests if creating(one.method, one.path)]
    assert [one.headers["x-stainless-retry-count"] for one in posts] == ["0"]
    assert posts[0].headers["idempotency-key"]


@pytest.mark.parametrize(
    "refusal",
    [
        (400, None, ProviderError),
        (401, "invalid_api_key", AuthFailed),
        (403, None, PermissionRefused),
        (404, "model_not_found", PermissionRefused),
        (400, "model_not_available", PermissionRefused),
    ],
    ids=str,
)
def test_a_clear_refusal_is_final_and_looks_nothing_up(
    service: stub.Running,
    provider: OpenAIProvider,
    tmp_path: Path,
    refusal: tuple[int, str | None, type[Exception]],
) -> None:
    status, code, error = refusal
    service.service.refuse_create = stub.Refused(status, "not available to your organization", code=code)
    with pytest.raises(error, match="not available to your organization"):
        provider.submit(provider.plan(job_spec(tmp_path, service.url)), key="ft-1")
    assert not [one for one in service.service.requests if one.method == "GET" and one.path == "/fine_tuning/jobs"]


def test_a_refusal_for_the_organisation_names_the_ways_out(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    service.service.refuse_create = stub.Refused(403, "not available to your organization")
    with pytest.raises(PermissionRefused, match=r"--provider azure.*--provider peft"):
        provider.submit(provider.plan(job_spec(tmp_path, service.url)), key="ft-1")


def test_data_that_changed_since_the_plan_are_not_uploaded(
    service: stub.Running, provider: OpenAIProvider, tmp_path: Path
) -> None:
    plan = provider.plan(job_spec(tmp_path, service.url))
    write(tmp_path / "sft.jsonl", chat_rows(13))
    with pytest.raises(DataError):
        provider.submit(plan, key="ft-1")
    assert service.service.files == {}
