"""What goes wrong at the vendor's end, as users meet it: one clear error each, nothing lost, no key anywhere."""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.azure.provider import AzureProvider
from wire import stub
from wire.helpers import job_spec
from wire.proxy import FAULTS, Fault, Plan, everything, proxying

from finetune_sdk.errors import AuthFailed, FineTuneError, JobFailed, JobNotFound, ProviderError
from finetune_sdk.job import FineTuneJob
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus, event_json


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(script=("validating_files", "running", "succeeded"))) as running:
        yield running
        assert running.service.violations == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_training_file_refused_while_it_is_validated_fails_the_job_with_the_vendors_reason(
    service: stub.Running, home: Path, tmp_path: Path
) -> None:
    service.service.script = ("validating_files", "failed")
    job = FineTuneJob.submit(job_spec(tmp_path, service.url), home=home)
    with pytest.raises(JobFailed, match="invalid training file"):
        job.wait(poll_s=0.001)
    assert "training_file" in str(job.record.error)


def test_a_job_deleted_at_the_vendor_is_one_clear_error_and_its_record_stays(
    service: stub.Running, home: Path, tmp_path: Path
) -> None:
    job = FineTuneJob.submit(job_spec(tmp_path, service.url), home=home)
    job.refresh()
    (name,) = service.service.jobs
    service.service.jobs.clear()
    with pytest.raises(JobNotFound, match=name):
        job.wait(poll_s=0.001)
    assert job.status is JobStatus.VALIDATING


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_lost_answer_is_one_job_also_where_the_servers_clock_is_an_hour_off(
    service: stub.Running, home: Path, tmp_path: Path, hours: int
) -> None:
    service.service.clock = int(time.time()) + hours * 3600
    with proxying(service.port, Plan([FAULTS["dropped after"]])) as port:
        job = FineTuneJob.submit(job_spec(tmp_path, f"http://127.0.0.1:{port}/v1"), home=home)
        assert job.wait(poll_s=0.001).status is JobStatus.SUCCEEDED
    assert len(service.service.jobs) == 1


def _refusal(status: int, code: str, message: str) -> Fault:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return Fault(code, reaches=False, status=status, body=body)


REFUSALS = {
    "an expired token": (
        _refusal(401, "401", "Access token is missing, invalid, audience is incorrect, or have expired."),
        AuthFailed,
        "Check the key or token",
    ),
    "an api version the resource does not have": (
        _refusal(404, "404", "Resource not found"),  # seen by the plan already, which asks about the base model
        FineTuneError,
        "check the endpoint and its version",
    ),
    "an api version that is no more": (
        _refusal(400, "BadRequest", "API version not supported"),
        ProviderError,
        "API version not supported",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
@pytest.mark.parametrize("api", ["v1", "2024-10-21"])
def test_what_azure_refuses_is_one_clear_error_and_no_job(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, api: str
) -> None:
    fault, error, words = REFUSALS[case]
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", stub.KEY)
    with stub.serving(stub.Service(dialect=stub.DIALECTS[f"azure-{api}"])) as running:
        with proxying(running.port, Plan([fault], concerns=everything, for_ever=True)) as port:
            provider = AzureProvider(home=home)
            with pytest.raises(error, match=words):
                provider.submit(provider.plan(_azure(tmp_path, port, api)), key="ft-1")
        assert running.service.jobs == {}


def _azure(folder: Path, port: int, api: str) -> JobSpec:
    where = {"endpoint": f"http://127.0.0.1:{port}", "api": api, "reconcile_wait_s": 0.01}
    changes: dict[str, Any] = {"options": {"azure": where}, "model": "a-model"}
    return job_spec(folder, "", provider="azure").model_copy(update=changes)


def test_the_key_is_in_no_log_store_event_repr_or_traceback(
    service: stub.Running, home: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        job = FineTuneJob.submit(job_spec(tmp_path, service.url), home=home)
        for failure in ("auth", "unknown word", "throttled", "unreachable"):
            service.service.failures.append(failure)  # "auth" repeats the key in its text, as vendors do
            try:
                job.refresh()
            except FineTuneError as exc:
                said += [*traceback.format_exception(exc), repr(exc), str(vars(exc))]
        said += [repr(job.wait(poll_s=0.001)), repr(job), job._repr_html_(), repr(job.spec)]  # pyright: ignore[reportPrivateUsage]
    said += [json.dumps(event_json(event)) for event in job.events()]
    said += [caplog.text, str([vars(record) for record in caplog.records])]
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert (stub.KEY in "".join(said), stub.KEY.encode() in kept) == (False, False)
    assert any("AuthFailed" in text for text in said)
