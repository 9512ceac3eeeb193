# pyright: basic
"""Inference Endpoints through the real huggingface_hub client, at a strict service of our own on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.endpoints.host import HFEndpoints
from huggingface_hub import constants
from wire import endpoints, hub
from wire.endpoints import Service
from wire.hub import Fault, Repo

from finetune_sdk.deploy import fetching
from finetune_sdk.deploy import hub as everywhere
from finetune_sdk.deploy.handle import Deployed
from finetune_sdk.deploy.hosts import Hosting
from finetune_sdk.errors import Ambiguous, ProviderError, QuotaExceeded, SpecError, Unreachable
from finetune_sdk.store import JobStore
from finetune_sdk.types import Artifact, Deployment

L4 = "aws-us-east-1-nvidia-l4-x1"
MODEL = "alice/tiny"
HOSTING = Hosting(machine=L4)
CREATE = r"^/v2/endpoint/alice$"


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The service, with one model on its hub."""
    with endpoints.serving(tmp_path / "hub") as served:
        for name in (MODEL, "alice/other"):
            served.hub.repos["model", name] = Repo("model", name, private=True)
            served.hub.repos["model", name].commit({"config.json": name.encode()})
        monkeypatch.setenv("HF_ENDPOINT", served.hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
        monkeypatch.setattr(constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{served.hub.url}/v2")
        monkeypatch.setattr(HFEndpoints, "poll_s", 0.01)
        yield served
        assert served.hub.refused == []


@pytest.fixture
def host(tmp_path: Path, service: Service) -> HFEndpoints:
    return HFEndpoints(home=tmp_path)


def deploy(host: HFEndpoints, model: str = MODEL, hosting: Hosting = HOSTING) -> Deployment:
    return host.deploy(Artifact(kind="model", uri=model), name="support", hosting=hosting)


# --- prices


def test_the_price_is_said_before_anything_is_created(host: HFEndpoints, service: Service) -> None:
    said = host.terms(Artifact(kind="model", uri=MODEL), name="support", hosting=HOSTING)

    assert "$0.80 an hour" in said
    assert "15 minutes" in said
    assert service.hub.posted(".") == 0


def test_a_price_that_is_not_told_stays_unknown(host: HFEndpoints) -> None:
    hosting = Hosting(machine="aws-us-east-1-nvidia-t4-x1")

    assert "an unknown price" in host.terms(Artifact(kind="model", uri=MODEL), name="support", hosting=hosting)


def test_a_push_is_said_before_it_is_done(host: HFEndpoints, tmp_path: Path) -> None:
    said = host.terms(Artifact(kind="model", uri=str(tmp_path)), name="support", hosting=HOSTING)

    assert "pushed to alice/support on the Hugging Face Hub, private" in said


@pytest.mark.parametrize(
    ("machine", "error", "text"),
    [
        (
            None,
            SpecError,
            r"name the machine .*nvidia-l4-x1  \$0.80 an hour\n.*a100-x4  \$10.00 an hour\n.*an unknown price",
        ),
        ("aws-moon-1", SpecError, "there is no machine 'aws-moon-1'"),
        ("aws-us-east-1-intel-icl-x2", SpecError, "no GPU"),
        ("aws-us-east-1-nvidia-a100-x4", QuotaExceeded, "needs 4 of its accelerators, the account may use 2 more"),
    ],
)
def test_a_machine_that_cannot_be_had_is_refused_before_anything_is_sent(
    host: HFEndpoints, service: Service, machine: str | None, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=f"(?s){text}"):
        deploy(host, hosting=Hosting(machine=machine))

    assert service.hub.posted(".") == 0


# --- a life


def test_it_waits_until_the_model_answers_and_chats_with_the_users_token(
    host: HFEndpoints, service: Service, tmp_path: Path
) -> None:
    made = deploy(host)

    assert (made.id, made.status, made.model, made.api_key_env) == ("alice/support", "ready", MODEL, "HF_TOKEN")
    assert Deployed.of(made, tmp_path).chat("hi", max_tokens=4) == "hello"
    assert service.asked[0]["model"] == MODEL


def test_what_is_created_is_pinned_scales_to_zero_and_is_not_public(host: HFEndpoints, service: Service) -> None:
    deploy(host)
    body = service.endpoints["alice/support"]

    assert body["model"]["revision"] == service.hub.repos["model", MODEL].head
    assert body["compute"]["scaling"] == {"minReplica": 0, "maxReplica": 1, "scaleToZeroTimeout": 15}
    assert body["type"] == "authenticated"
    assert body["model"]["image"]["vLLM"]["port"] == 8000


def test_the_same_name_again_changes_nothing_and_needs_no_machine(host: HFEndpoints, service: Service) -> None:
    first = deploy(host)

    assert deploy(host, hosting=Hosting()) == first
    assert service.hub.posted(CREATE) == 1


def test_a_name_that_serves_something_else_is_refused(host: HFEndpoints) -> None:
    deploy(host)

    with pytest.raises(ProviderError, match="serves something else"):
        deploy(host, "alice/other")


def test_it_is_paused_resumed_scaled_to_zero_and_deleted(host: HFEndpoints, service: Service, tmp_path: Path) -> None:
    made = deploy(host)
    JobStore(tmp_path).save_deployment(None, made)
    states = [everywhere.stop(tmp_path, made), everywhere.stop(tmp_path, made), *everywhere.listed(tmp_path)]
    woken = everywhere.restart(tmp_path, made)
    asleep = everywhere.stop(tmp_path, made, until_asked=True)
    everywhere.delete(tmp_path, made)
    everywhere.delete(tmp_path, made)

    assert [one.status for one in states] == ["stopped", "stopped", "stopped"]
    assert woken == made
    assert (asleep.status, asleep.base_url) == ("stopped", made.base_url)
    assert "the next request wakes it" in (asleep.error or "")
    assert service.endpoints == {}
    assert everywhere.refreshed(tmp_path, made).status == "stopped"


def test_one_that_was_paused_is_resumed_by_deploying_it(host: HFEndpoints) -> None:
    made = deploy(host)
    host.stop(made.id)

    assert deploy(host) == made


def test_it_is_on_the_list_of_those_made_here_and_of_the_account(
    host: HFEndpoints, tmp_path: Path, service: Service
) -> None:
    made = deploy(host)
    JobStore(tmp_path).save_deployment(None, made)
    stranger = {**service.endpoints["alice/support"], "name": "stranger", "tags": []}
    service.endpoints["alice/stranger"] = stranger

    assert everywhere.listed(tmp_path, refresh=True) == [made]
    assert [one.id for one in host.deployments()] == ["alice/support"]


# --- faults


def test_a_failed_one_is_told_with_its_reason(host: HFEndpoints, service: Service) -> None:
    service.steps = ["initializing", "failed"]

    with pytest.raises(ProviderError, match=r"cannot answer: CUDA out of memory.*deployments rm alice/support"):
        deploy(host)


def test_patience_ends_and_it_is_starting_still(
    host: HFEndpoints, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.steps = ["initializing"]
    monkeypatch.setattr(HFEndpoints, "patience_s", 0.05)

    assert deploy(host).status == "starting"


@pytest.mark.parametrize("status", [None, 503, 409], ids=["hangs-up", "503", "409"])
def test_a_creation_whose_answer_was_lost_is_found_by_its_name(
    host: HFEndpoints, service: Service, status: int | None
) -> None:
    service.hub.faults.append(Fault("POST", CREATE, reaches=True, status=status))

    assert deploy(host).status == "ready"
    assert service.hub.posted(CREATE) == 1


def test_a_creation_that_never_arrived_is_told_as_unknown_and_can_be_repeated(
    host: HFEndpoints, service: Service
) -> None:
    service.hub.faults.append(Fault("POST", CREATE, reaches=False, status=502))
    with pytest.raises(Ambiguous, match="Deploying again is safe"):
        deploy(host)

    assert deploy(host).status == "ready"


def test_a_refusal_is_passed_on_in_words(host: HFEndpoints, service: Service) -> None:
    body = b'{"error": "You need a payment method"}'
    service.hub.faults.append(Fault("POST", CREATE, reaches=False, status=402, body=body))

    with pytest.raises(QuotaExceeded, match="402"):
        deploy(host)

    assert service.endpoints == {}


def test_answers_that_are_lost_while_waiting_are_asked_for_again(host: HFEndpoints, service: Service) -> None:
    service.hub.faults.append(Fault("GET", r"^/v2/endpoint/alice/support$", reaches=False, status=404))
    service.hub.faults.append(Fault("GET", r"/v1/models$", reaches=False, status=503, times=2))

    assert deploy(host).status == "ready"


def test_a_service_that_is_down_is_told(host: HFEndpoints, service: Service) -> None:
    service.hub.down = True

    with pytest.raises(Unreachable):
        deploy(host)


def test_the_token_is_not_sent_over_an_open_line(host: HFEndpoints, service: Service) -> None:
    made = deploy(host)
    service.endpoints[made.id]["status"]["url"] = "http://models.example"

    with pytest.raises(ProviderError, match="not encrypted"):
        host.deployment(made.id)


def test_a_bad_name_is_refused(host: HFEndpoints) -> None:
    with pytest.raises(SpecError, match="no name for an endpoint"):
        host.deploy(fetching.named(MODEL), name="Support!", hosting=HOSTING)


def test_no_token_is_written(host: HFEndpoints, service: Service, tmp_path: Path) -> None:
    JobStore(tmp_path).save_deployment(None, deploy(host))
    written: list[Any] = [
        file for file in tmp_path.rglob("*") if file.is_file() and hub.TOKEN.encode() in file.read_bytes()
    ]

    assert written == []
    assert hub.TOKEN not in str(service.endpoints)
