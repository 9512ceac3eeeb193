"""Renting machines of Hugging Face: what is planned, sent, found and told, at a hub whose machines stand still."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from renting import Renter, machine_of, rows, spec
from wire import hub as wire_hub
from wire.hub import TOKEN, Fault, Hub

from finetune_sdk import FineTuneJob
from finetune_sdk.errors import (
    Ambiguous,
    AuthFailed,
    FineTuneError,
    JobNotFound,
    PermissionRefused,
    QuotaExceeded,
    SpecError,
    Throttled,
    Unreachable,
    Unsupported,
)
from finetune_sdk.registry import standing_in
from finetune_sdk.types import JobStatus

KINDS = ("hf-jobs", "hf-space")
CREATES = {"hf-jobs": r"^/api/jobs/alice$", "hf-space": r"^/api/spaces/.*/commit/"}
"""The request after which a machine is there."""


@pytest.fixture(autouse=True)
def still(hub: Hub) -> None:
    """Machines wait for ever."""
    hub.hold = True


def submitted(renter: Renter, folder: Path, kind: str = "hf-jobs", **parts: Any) -> str:
    return renter.submit(renter.plan(spec(folder, kind, **parts)), key="job-1")


# --- planning


def test_the_price_is_asked_and_stays_unknown_without_a_bound(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    plan = renter.plan(spec(tmp_path, compute={"flavor": "t4-small"}))

    assert plan.cost.usd is None
    assert "0.40 USD per hour" in plan.cost.basis
    assert "Set budget.max_hours" in plan.cost.basis


def test_a_time_limit_bounds_the_cost_and_the_machine(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    plan = renter.plan(spec(tmp_path, compute={"flavor": "t4-small"}, budget={"max_hours": 2}))

    assert plan.cost.usd == pytest.approx(3 * 60 * 0.00667)
    assert plan.request["rented"] == {"namespace": "alice", "flavor": "t4-small", "gpu": True, "timeout_s": 3 * 3600}


def test_a_price_by_an_unknown_unit_is_unknown(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire_hub, "HARDWARE", [{**one, "unitLabel": "fortnight"} for one in wire_hub.HARDWARE])

    plan = renter.plan(spec(tmp_path, budget={"max_hours": 2}))

    assert plan.cost.usd is None


def test_planning_sends_nothing_that_creates(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    first, second = (renter.plan(spec(tmp_path)) for _ in range(2))

    assert first == second
    assert {method for method, _ in hub.seen} == {"GET"}


@pytest.mark.parametrize(
    ("compute", "refusal"),
    [
        ({"flavor": "z9-huge"}, (SpecError, "there is no 'z9-huge' for hf-jobs; there are: cpu-basic")),
        ({"device": "cuda"}, (Unsupported, "compute.device")),
        ({"environment": "current"}, (Unsupported, "built there from the provider's lock")),
    ],
)
def test_what_a_rented_machine_is_not_is_refused(
    renter: Renter, hub: Hub, tmp_path: Path, compute: dict[str, str], refusal: tuple[type[FineTuneError], str]
) -> None:
    with pytest.raises(refusal[0], match=refusal[1]):
        renter.plan(spec(tmp_path, compute=compute))
    assert hub.posted("") == 0


def test_a_tracker_is_refused_because_the_lock_has_none(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="report_to: wandb"):
        renter.plan(spec(tmp_path, report_to=("wandb",)))


def test_without_a_token_nothing_is_planned(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")

    with pytest.raises(AuthFailed, match="hf auth login"):
        renter.plan(spec(tmp_path))
    assert hub.seen == []


def test_a_revoked_token_is_told_while_planning(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    hub.revoked = True

    with pytest.raises(AuthFailed, match="was revoked") as caught:
        renter.plan(spec(tmp_path))
    assert TOKEN not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_told_while_planning(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    hub.down = True

    with pytest.raises(Unreachable, match="no answer from http://127"):
        renter.plan(spec(tmp_path))


def test_rows_with_a_secret_do_not_leave(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    held = rows(tmp_path / "secret.jsonl", answer="use hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789")

    plan = renter.plan(spec(tmp_path, data={"train": str(held)}))
    allowed = renter.plan(spec(tmp_path, data={"train": str(held), "allow": ["secret"]}))

    assert "would be sent away" in plan.errors[0].message
    assert allowed.errors == ()


# --- submitting


def test_a_job_is_created_with_its_key_its_owner_and_a_time_limit(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path, compute={"namespace": "acme"})

    body = hub.bodies[machine_of(hub)]
    assert ref == "hf-jobs:job-1"
    assert body["namespace"] == "acme"
    assert body["labels"] == {"ftsdk-key": "job-1", "name": "finetune-job-1"}
    assert body["timeoutSeconds"] == 24 * 3600
    assert body["attempts"] == 1
    assert body["dockerImage"] == "ghcr.io/astral-sh/uv:python3.11-bookworm"
    assert body["secrets"] == {"HF_TOKEN": TOKEN}
    assert hub.repos["model", "acme/finetune-job-1"].private


def test_a_space_gets_its_secret_its_machine_and_a_sleep_time(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    submitted(renter, tmp_path, "hf-space", compute={"flavor": "t4-small"}, budget={"max_hours": 1})

    body = hub.bodies["alice/finetune-job-1"]
    files = hub.files("alice/finetune-job-1", "space")
    assert body["secrets"] == [{"key": "HF_TOKEN", "value": TOKEN}]
    assert body["hardware"] == "t4-small"
    assert body["sleepTimeSeconds"] == 2 * 3600
    assert body["visibility"] == "private"
    assert files["Dockerfile"].startswith(b"FROM ghcr.io/astral-sh/uv:python3.11-bookworm\n")


def test_the_repository_holds_the_job_and_no_secret(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    submitted(renter, tmp_path)

    files = hub.files("alice/finetune-job-1")
    assert files["job/data/train.jsonl"].count(b"\n") == 3
    assert json.loads(files["job/spec.json"])["job_id"] == "job-1"
    assert {"job/agent.py", "job/sdk/worker/runner.py", "job/lock/cpu.lock"} < files.keys()
    assert TOKEN.encode() not in hub.everything_stored()


@pytest.mark.parametrize("kind", KINDS)
def test_submitting_twice_rents_one_machine(renter: Renter, hub: Hub, tmp_path: Path, kind: str) -> None:
    plan = renter.plan(spec(tmp_path, kind))

    refs = {renter.submit(plan, key="job-1"), Renter(home=renter.home).submit(plan, key="job-1")}

    assert refs == {f"{kind}:job-1"}
    assert len(hub.machines) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [None, 500, 200, 409])
def test_a_machine_whose_answer_was_lost_is_found_not_made_again(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    kind: str,
    status: int | None,
) -> None:
    plan = renter.plan(spec(tmp_path, kind))
    hub.faults = [Fault("POST", CREATES[kind], reaches=True, status=status, body=b"<html>")]

    ref = renter.submit(plan, key="job-1")

    assert ref == f"{kind}:job-1"
    assert renter.poll(ref).status is JobStatus.QUEUED
    assert len(hub.machines) == 1


@pytest.mark.parametrize("status", [None, 503])
def test_a_request_that_never_arrived_is_in_doubt_and_sent_again_on_demand(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    status: int | None,
) -> None:
    plan = renter.plan(spec(tmp_path))
    hub.faults = [Fault("POST", CREATES["hf-jobs"], reaches=False, status=status)]

    with pytest.raises(Ambiguous, match="nothing is listed so far"):
        renter.submit(plan, key="job-1")
    assert renter.find("job-1") is None
    renter.submit(plan, key="job-1")

    assert len(hub.machines) == 1


def test_a_hub_that_cannot_be_asked_leaves_it_in_doubt(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    plan = renter.plan(spec(tmp_path))
    hub.faults = [
        Fault("POST", CREATES["hf-jobs"], reaches=True),
        Fault("GET", CREATES["hf-jobs"], reaches=False, status=401),
    ]

    with pytest.raises(Ambiguous, match="not known whether a machine was rented"):
        renter.submit(plan, key="job-1")

    assert Renter(home=renter.home).find("job-1") == "hf-jobs:job-1"
    assert len(hub.machines) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthFailed), (402, QuotaExceeded), (403, PermissionRefused), (429, Throttled), (422, FineTuneError)],
)
def test_a_refusal_is_told_and_costs_nothing(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    status: int,
    error: type[FineTuneError],
) -> None:
    plan = renter.plan(spec(tmp_path))
    hub.faults = [Fault("POST", CREATES["hf-jobs"], reaches=False, status=status)]

    with pytest.raises(error) as caught:
        renter.submit(plan, key="job-1")

    assert not isinstance(caught.value, Ambiguous)
    assert caught.value.charged is False
    assert renter.find("job-1") is None
    assert hub.machines == {}


def test_a_key_that_was_never_sent_is_looked_up_without_a_request(renter: Renter, hub: Hub) -> None:
    assert renter.find("job-1") is None
    assert hub.seen == []


def test_changed_data_are_not_sent(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    plan = renter.plan(spec(tmp_path))
    rows(tmp_path / "rows.jsonl", count=5)

    with pytest.raises(FineTuneError, match="changed since it was planned"):
        renter.submit(plan, key="job-1")

    assert hub.machines == {}


# --- watching


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        (("hf-jobs", "SCHEDULING"), JobStatus.QUEUED),
        (("hf-jobs", "RUNNING"), JobStatus.RUNNING),
        (("hf-jobs", "CANCELED"), JobStatus.CANCELLED),  # by somebody else
        (("hf-jobs", "ERROR"), JobStatus.FAILED),
        (("hf-jobs", "DELETED"), JobStatus.FAILED),
        (("hf-jobs", "COMPLETED"), JobStatus.FAILED),  # it left no result
        (("hf-space", "BUILDING"), JobStatus.QUEUED),
        (("hf-space", "APP_STARTING"), JobStatus.QUEUED),
        (("hf-space", "RUNNING"), JobStatus.RUNNING),
        (("hf-space", "BUILD_ERROR"), JobStatus.FAILED),
        (("hf-space", "RUNTIME_ERROR"), JobStatus.FAILED),
        (("hf-space", "PAUSED"), JobStatus.FAILED),
    ],
)
def test_every_stage_means_something(
    renter: Renter, hub: Hub, tmp_path: Path, stage: tuple[str, str], status: JobStatus
) -> None:
    kind, word = stage
    ref = submitted(renter, tmp_path, kind)
    machine = hub.machines[machine_of(hub)]
    machine.stage, machine.message = word, None
    machine.lines.append(f"Killed {TOKEN}\n")

    found = renter.poll(ref)

    assert (found.status, found.known) == (status, True)
    if status is JobStatus.FAILED:
        assert found.error is not None
        assert word in found.error
        assert "Killed ***" in found.error


def test_the_vendors_reason_is_the_error(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path)
    machine = hub.machines[machine_of(hub)]
    machine.stage, machine.message = "ERROR", "Job timeout"

    assert "Job timeout" in str(renter.poll(ref).error)


def test_a_job_that_is_cancelled_for_want_of_credit_has_failed(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path)
    machine = hub.machines[machine_of(hub)]
    machine.stage, machine.cancel_reason = "CANCELED", "NO_CREDITS"

    found = renter.poll(ref)

    assert found.status is JobStatus.FAILED
    assert "NO_CREDITS" in str(found.error)


def test_a_new_word_is_passed_on(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path)
    hub.machines[machine_of(hub)].stage = "LEVITATING"

    found = renter.poll(ref)

    assert (found.raw_status, found.known) == ("LEVITATING", False)


def test_a_log_that_breaks_off_does_not_keep_a_job_from_ending(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = submitted(renter, tmp_path)
    machine = hub.machines[machine_of(hub)]
    machine.stage, machine.message, hub.cut_logs = "ERROR", "out of memory", True
    machine.lines.append("a line\n")

    with caplog.at_level(logging.WARNING):
        found = renter.poll(ref)

    assert found.status is JobStatus.FAILED
    assert "out of memory" in str(found.error)


@pytest.mark.parametrize(("fault", "error"), [("down", Unreachable), ("revoked", AuthFailed)])
def test_an_outage_while_watching_loses_nothing(
    renter: Renter,
    hub: Hub,
    tmp_path: Path,
    fault: str,
    error: type[FineTuneError],
) -> None:
    ref = submitted(renter, tmp_path)
    setattr(hub, fault, True)
    for look in (renter.poll, renter.events, renter.cancel):
        with pytest.raises(error):
            look(ref)
    setattr(hub, fault, False)

    assert renter.poll(ref).status is JobStatus.QUEUED


def test_a_job_that_the_hub_no_longer_knows_is_not_found(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path)
    hub.bodies.clear()

    with pytest.raises(JobNotFound):
        renter.poll(ref)


@pytest.mark.parametrize("kind", KINDS)
def test_cancelling_before_it_runs_takes_the_machine_away(renter: Renter, hub: Hub, tmp_path: Path, kind: str) -> None:
    ref = submitted(renter, tmp_path, kind)

    renter.cancel(ref)
    found = renter.poll(ref)
    renter.cancel(ref)

    assert found.status is JobStatus.CANCELLED
    assert hub.machines[machine_of(hub)].process is None
    assert renter.artifacts(ref) == []


def test_pausing_is_refused_with_what_to_do(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = submitted(renter, tmp_path)

    with pytest.raises(Unsupported, match="Cancel it instead"):
        renter.pause(ref)
    with pytest.raises(Unsupported, match="Submit it again"):
        renter.resume(ref)


def test_a_handle_that_asks_for_a_pause_is_refused_and_the_job_goes_on(
    renter: Renter, hub: Hub, tmp_path: Path
) -> None:
    with standing_in("renter", lambda home: Renter(home=home)):
        job = FineTuneJob.submit(spec(tmp_path), home=renter.home)
        with pytest.raises(Unsupported, match="pausing a job at hf-jobs"):
            job.pause()
        waiting = job.refresh()
        job.cancel()

        assert waiting.status is JobStatus.QUEUED
        assert job.refresh().status is JobStatus.CANCELLED
    assert len(hub.machines) == 1


def test_a_namespace_on_this_machine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="namespace says who rents a machine"):
        spec(tmp_path, "local", compute={"flavor": None, "namespace": "acme"})


def test_the_hub_is_as_strict_as_it_says(hub: Hub) -> None:
    good: dict[str, Any] = {
        "command": ["true"],
        "environment": {},
        "flavor": "cpu-basic",
        "dockerImage": "x",
        "timeoutSeconds": 60,
    }
    for bad in ({"colour": "red"}, {"flavor": "z9"}, {"labels": {"a b": "c"}}, {"timeoutSeconds": None}):
        with pytest.raises(wire_hub.Refused):
            hub.run_job("alice", {**good, **bad})


@pytest.mark.parametrize(
    ("example", "change"),
    [("01_quickstart/hf-jobs.yaml", "seed=1"), ("06_autotrain/spaces.yaml", "model=some/model")],
)
def test_the_examples_are_planned_with_a_price(hub: Hub, tmp_path: Path, example: str, change: str) -> None:
    finetune, file = Path(sys.executable).with_name("finetune"), Path(__file__).parents[2] / "examples" / example
    command = [str(finetune), "plan", str(file), "--set", change, "--home", str(tmp_path), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["cost"]["usd"] == pytest.approx(2 * 60 * 0.00667)
    assert hub.posted("") == 0
