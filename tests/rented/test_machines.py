"""Jobs that really run on the hub's machines: the agent, the environment, the worker, and all the way home."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import peft_jobs
import pytest
from autotrain_models import make
from finetune_providers.autotrain.provider import AutoTrainProvider
from finetune_providers.hub import collecting
from finetune_providers.peft.provider import PeftProvider
from managed_envs import managed_home
from renting import Renter, ended, machine_of, rows, spec, until
from wire.hub import TOKEN, Hub

from finetune_sdk.spec import JobSpec
from finetune_sdk.types import JobStatus
from finetune_sdk.worker.envs import EnvStore


def _running(renter: Renter, ref: str) -> bool:
    return any(event.step for event in renter.events(ref))


def test_a_job_comes_home_whole(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    go = tmp_path / "go"
    plan = renter.plan(spec(tmp_path, options={"steps": 20, "until": str(go)}))
    ref = renter.submit(plan, key="job-1")
    until(lambda: _running(renter, ref))
    hub.down = True  # the machine cannot report, nobody can look
    until(lambda: "could not report" in "".join(hub.machines[machine_of(hub)].lines))
    hub.down = False
    go.touch()

    found = ended(renter, ref)

    assert (found.status, found.error, found.metrics) == (JobStatus.SUCCEEDED, None, {"rows": 3.0})
    (model,) = renter.artifacts(ref)
    assert found.model == model.uri
    kept = {path.name: path.read_bytes() for path in Path(model.uri).iterdir()}
    sent = {Path(name).name: text for name, text in hub.files("alice/finetune-job-1").items() if "artifacts" in name}
    assert kept == sent
    assert kept["weights.safetensors"] == bytes(range(256)) * 3
    steps = [event.step for event in renter.events(ref) if event.step]
    assert steps == list(range(1, 21))
    assert TOKEN.encode() not in hub.everything_stored()
    assert all(TOKEN.encode() not in file.read_bytes() for file in renter.home.rglob("*") if file.is_file())


def test_two_machines_for_one_job_train_once(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    hub.hold = True
    ref = renter.submit(renter.plan(spec(tmp_path)), key="job-1")
    listed = machine_of(hub)
    body = {name: value for name, value in hub.bodies[listed].items() if name != "namespace"}
    twin = hub.run_job("alice", body)["id"]  # a request that was thought lost, obeyed late
    hub.machines[twin].start()
    until(lambda: hub.machines[twin].stage == "COMPLETED")
    hub.go()

    found = ended(renter, ref)

    assert found.status is JobStatus.SUCCEEDED
    assert sum("starting the worker" in "".join(machine.lines) for machine in hub.machines.values()) == 1
    assert f"this job is run by {twin}" in "".join(hub.machines[listed].lines)


def test_a_space_that_fails_says_why_and_is_paused(renter: Renter, hub: Hub, tmp_path: Path) -> None:
    ref = renter.submit(renter.plan(spec(tmp_path, "hf-space", options={"fails": True})), key="job-1")

    found = ended(renter, ref)

    assert (found.status, found.error) == (JobStatus.FAILED, "the loss is NaN")
    until(lambda: hub.machines["alice/finetune-job-1"].stage == "PAUSED")


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
def test_a_machine_that_is_taken_away_ends_the_job(renter: Renter, hub: Hub, tmp_path: Path, how: str) -> None:
    ref = renter.submit(renter.plan(spec(tmp_path, options={"steps": 10_000, "pause_s": 0.05})), key="job-1")
    until(lambda: _running(renter, ref))
    if how == "cancelled":
        renter.cancel(ref)
    else:
        hub.machines[machine_of(hub)].timeout_s = 0.0

    found = ended(renter, ref)

    expected = JobStatus.CANCELLED if how == "cancelled" else JobStatus.FAILED
    assert found.status is expected
    assert ("Job timeout" in str(found.error)) == (how == "timed out")
    assert _running(renter, ref)


def test_peft_trains_in_a_job(hub: Hub, tmp_path: Path) -> None:
    hub.stand_in = Path(sys.prefix)
    provider = PeftProvider(home=tmp_path / "home")
    train = peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(12))
    asked = peft_jobs.spec(
        train, compute={"kind": "hf-jobs", "flavor": "cpu-basic", "device": "cpu"}, hyperparameters={"max_steps": 2}
    )
    ref = provider.submit(provider.plan(asked), key="job-1")

    found = ended(provider, ref)

    assert found.status is JobStatus.SUCCEEDED, found.error
    adapter = next(one for one in provider.artifacts(ref) if one.kind == "adapter")
    assert collecting.digest(Path(adapter.uri)) == adapter.sha256
    assert adapter.base_model == str(tmp_path / "home" / "jobs" / "job-1" / "base")  # deploying needs it
    assert (tmp_path / "home" / "jobs" / "job-1" / "base" / "config.json").is_file()
    assert [event.step for event in provider.events(ref) if "loss" in event.metrics]


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # the vendor's client, uploading a large file
def test_autotrain_trains_in_a_space_from_a_model_that_is_sent_along(hub: Hub, tmp_path: Path) -> None:
    home = managed_home(tmp_path / "home")
    provider = AutoTrainProvider(home=home)
    assert provider.environment is not None
    hub.stand_in = EnvStore(home).create("autotrain", provider.environment.lock, variant="cpu").path
    model = Path(make(tmp_path / "models")["causal"])
    weights = hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()
    asked = JobSpec.model_validate(
        {
            "provider": "autotrain",
            "model": str(model),
            "data": {"train": str(rows(tmp_path / "train.jsonl", count=12))},
            "compute": {"kind": "hf-space", "flavor": "cpu-basic", "device": "cpu"},
            "hyperparameters": {"max_steps": 1, "batch_size": 2},
            "seed": 0,
        }
    )
    ref = provider.submit(provider.plan(asked), key="job-1")
    model.rename(tmp_path / "moved")  # only what was sent is left

    found = ended(provider, ref)

    assert found.status is JobStatus.SUCCEEDED, found.error
    sent = hub.files("alice/finetune-job-1")["job/model/model.safetensors"]
    assert hashlib.sha256(sent).hexdigest() == weights
    adapter = next(one for one in provider.artifacts(ref) if one.kind == "adapter")
    assert collecting.digest(Path(adapter.uri)) == adapter.sha256
    said = json.loads((Path(adapter.uri) / "adapter_config.json").read_text())
    assert said["base_model_name_or_path"] == str(model)
