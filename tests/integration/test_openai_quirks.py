"""Servers that speak OpenAI's fine-tuning API with quirks: each row of the table against a stand-in that has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from finetune_providers.openai.provider import OpenAIProvider
from finetune_providers.openai.wire import WIRES
from wire import stub
from wire.helpers import job_spec
from wire.proxy import FAULTS, Plan, creating, proxying

from finetune_sdk.errors import Ambiguous, ProviderError, Unsupported
from finetune_sdk.job import FineTuneJob
from finetune_sdk.types import JobStatus

STUDIO_TAKES = frozenset({"model", "training_file", "validation_file", "suffix", "seed", "method", "integrations"})
NO_PAUSE = frozenset({"pause_job", "resume_job"})


@dataclass(frozen=True)
class Quirks:
    """What a server does otherwise than OpenAI, as the stand-in's fields."""

    service: dict[str, Any] = field(default_factory=dict[str, Any])


SERVERS = {
    "openai": Quirks(),
    "compatible": Quirks({"missing": frozenset({"get_model"})}),
    "unsloth-studio": Quirks(
        {"takes": STUDIO_TAKES, "one_at_a_time": True, "drops_metadata": True,
         "missing": NO_PAUSE | {"start_upload", "get_model", "list_models"}}
    ),
    "litellm": Quirks({"drops_metadata": True, "missing": frozenset({"get_model"})}),
    "portkey": Quirks(
        {"drops_metadata": True,
         "missing": NO_PAUSE | {"list_jobs", "cancel_job", "get_model", "list_models"}}
    ),
}  # fmt: skip


@pytest.fixture
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    quirks: Quirks = SERVERS[request.node.callspec.params["server"]]
    with stub.serving(stub.Service(script=("queued", "running", "succeeded"), **quirks.service)) as running:
        yield running


def test_every_row_of_the_table_has_a_stand_in() -> None:
    assert WIRES.keys() == SERVERS.keys()


@pytest.mark.parametrize("server", SERVERS)
def test_a_job_runs_to_its_end_through_every_server(service: stub.Running, tmp_path: Path, server: str) -> None:
    spec = job_spec(tmp_path, service.url, options={"server": server}, seed=7, suffix="support")
    spec = spec.model_copy(update={"model": "gpt-4.1-mini"})
    job = FineTuneJob.submit(spec, home=tmp_path / "home")
    assert job.wait(poll_s=0.001).status is JobStatus.SUCCEEDED
    assert job.events() != []


@pytest.mark.parametrize("server", [name for name in SERVERS if name != "portkey"])
def test_a_lost_answer_is_one_job_through_every_server_that_lists_jobs(
    service: stub.Running, tmp_path: Path, server: str
) -> None:
    provider = OpenAIProvider(home=tmp_path / "home")
    with proxying(service.port, Plan([FAULTS["dropped after"]], concerns=creating)) as port:
        spec = job_spec(tmp_path, f"http://127.0.0.1:{port}/v1", options={"server": server})
        provider.submit(provider.plan(spec.model_copy(update={"model": "gpt-4.1-mini"})), key="ft-1")
    assert len(service.service.jobs) == 1


@pytest.mark.parametrize("server", ["portkey"])
def test_where_no_jobs_are_listed_a_lost_answer_stays_doubtful_and_nothing_is_sent_again(
    service: stub.Running, tmp_path: Path, server: str
) -> None:
    provider = OpenAIProvider(home=tmp_path / "home")
    with proxying(service.port, Plan([FAULTS["dropped after"]], concerns=creating)) as port:
        spec = job_spec(tmp_path, f"http://127.0.0.1:{port}/v1", options={"server": server})
        with pytest.raises(Ambiguous, match="lists no jobs"):
            provider.submit(provider.plan(spec.model_copy(update={"model": "gpt-4.1-mini"})), key="ft-1")
    assert len(service.service.jobs) == 1


@pytest.mark.parametrize("server", ["unsloth-studio"])
def test_a_server_that_is_busy_with_a_job_refuses_another_once_and_clearly(
    service: stub.Running, tmp_path: Path, server: str
) -> None:
    service.service.script = ("running",)
    provider = OpenAIProvider(home=tmp_path / "home")
    plan = provider.plan(job_spec(tmp_path, service.url, options={"server": server}))
    provider.submit(plan, key="ft-1")
    with pytest.raises(ProviderError, match="one job at a time") as caught:
        provider.submit(plan, key="ft-2")
    posts = [one for one in service.service.requests if (one.method, one.path) == ("POST", "/fine_tuning/jobs")]
    assert (type(caught.value), len(posts), len(service.service.jobs)) == (ProviderError, 2, 1)


@pytest.mark.parametrize("server", ["unsloth-studio"])
@pytest.mark.parametrize(
    "asked", [{"kind": "dpo"}, {"kind": "rft"}, {"metadata": {"team": "a"}}], ids=["dpo", "rft", "metadata"]
)
def test_what_the_server_cannot_carry_is_refused_before_anything_is_sent(
    service: stub.Running, tmp_path: Path, server: str, asked: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported, match="unsloth-studio"):
        FineTuneJob.plan(job_spec(tmp_path, service.url, options={"server": server}, **asked), home=tmp_path / "home")
    assert service.service.requests == []


@pytest.mark.parametrize("server", ["unsloth-studio", "portkey"])
def test_pausing_is_refused_where_the_server_cannot(service: stub.Running, tmp_path: Path, server: str) -> None:
    service.service.script = ("running",)
    provider = OpenAIProvider(home=tmp_path / "home")
    spec = job_spec(tmp_path, service.url, options={"server": server}).model_copy(update={"model": "gpt-4.1-mini"})
    ref = provider.submit(provider.plan(spec), key="ft-1")
    with pytest.raises(Unsupported, match="pausing"):
        provider.pause(ref)
