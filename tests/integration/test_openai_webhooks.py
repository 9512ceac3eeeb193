"""A webhook refreshes its job in the store, through the receiver, the ASGI application and the page that shows it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from wire import stub
from wire.helpers import SECRET, delivery, job_spec, signed

from finetune_sdk.errors import BadDelivery, ProviderError, Unsupported
from finetune_sdk.job import FineTuneJob
from finetune_sdk.registry import standing_in
from finetune_sdk.store import JobStore
from finetune_sdk.testing.fake import FakeProvider
from finetune_sdk.types import JobStatus
from finetune_sdk.webhooks import App, Receiver, asgi_app

PAGE = Path(__file__).parents[2] / "docs" / "openai.md"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[stub.Running]:
    monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", SECRET)
    with stub.serving(stub.Service(script=("queued", "running", "succeeded"))) as running:
        yield running
        assert running.service.violations == []


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def job(service: stub.Running, home: Path, tmp_path: Path) -> FineTuneJob:
    return FineTuneJob.submit(job_spec(tmp_path, service.url), home=home)


@pytest.fixture
def body(service: stub.Running, job: FineTuneJob) -> bytes:
    assert job.record.ref is not None
    return delivery(next(iter(service.service.jobs)))


def looks(service: stub.Running) -> int:
    return len([one for one in service.service.requests if re.fullmatch(r"/fine_tuning/jobs/[^/]+", one.path)])


def test_a_delivery_refreshes_its_job_in_the_store(job: FineTuneJob, home: Path, body: bytes) -> None:
    refreshed = Receiver("openai", home=home).receive(body, signed(body))
    assert [record.id for record in refreshed] == [job.id]
    assert JobStore(home).get(job.id).status is JobStatus.QUEUED


def test_a_repeated_delivery_refreshes_once(service: stub.Running, home: Path, body: bytes) -> None:
    receiver, before = Receiver("openai", home=home), looks(service)
    headers = signed(body)
    assert receiver.receive(body, headers) != []
    assert receiver.receive(body, headers) == []
    assert looks(service) == before + 1


def test_a_delivery_whose_refresh_failed_counts_when_it_comes_again(
    service: stub.Running, job: FineTuneJob, home: Path, body: bytes
) -> None:
    receiver = Receiver("openai", home=home)
    service.service.failures.append("auth")
    with pytest.raises(ProviderError):
        receiver.receive(body, signed(body))
    assert [record.id for record in receiver.receive(body, signed(body))] == [job.id]


def test_a_delivery_about_an_unknown_job_does_nothing(service: stub.Running, home: Path, job: FineTuneJob) -> None:
    before, body = looks(service), delivery("ftjob-of-somebody-else")
    assert Receiver("openai", home=home).receive(body, signed(body)) == []
    assert (looks(service), job.record.ref is None) == (before, False)


def test_a_forged_delivery_does_nothing(service: stub.Running, home: Path, body: bytes) -> None:
    before = looks(service)
    with pytest.raises(BadDelivery):
        Receiver("openai", home=home).receive(body, {**signed(body), "Webhook-Signature": "v1,AAAA"})
    assert looks(service) == before


def test_what_a_delivery_claims_is_not_believed(job: FineTuneJob, home: Path, body: bytes) -> None:
    Receiver("openai", home=home).receive(body, signed(body))  # it says "succeeded"; the service says "queued"
    assert job.status is JobStatus.QUEUED


def test_lost_webhooks_cost_nothing_because_polling_goes_on(job: FineTuneJob, body: bytes) -> None:
    assert body
    assert job.wait(poll_s=0.001).status is JobStatus.SUCCEEDED


def test_the_secret_is_not_in_the_receivers_repr(home: Path) -> None:
    receiver = Receiver("openai", home=home)
    assert SECRET not in repr(receiver) + repr(vars(receiver))


def test_a_provider_without_webhooks_says_so(home: Path) -> None:
    with standing_in("fake", lambda home: FakeProvider(home=home)), pytest.raises(Unsupported, match="watch_all"):
        Receiver("fake", home=home).receive(b"{}", {})


# --- the application


def status_of(app: App, body: bytes, *, headers: dict[str, str] | None = None, **scope: Any) -> int:
    sent: list[Any] = []
    pieces = [body[:5], body[5:]]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or signed(body)).items()]
    full = {"type": "http", "method": "POST", "path": "/webhooks/openai", "headers": raw, **scope}

    async def serve() -> None:
        await app(full, receive, send)

    asyncio.run(serve())
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({}, 204),
        ({"headers": {"webhook-id": "x"}}, 400),
        ({"path": "/elsewhere"}, 404),
        ({"method": "GET"}, 405),
    ],
    ids=["taken", "bad", "wrong path", "wrong method"],
)
def test_the_application_says_what_became_of_it(home: Path, body: bytes, request_: dict[str, Any], status: int) -> None:
    assert status_of(asgi_app("openai", home=home), body, **request_) == status


def test_a_delivery_too_large_to_be_one_is_not_read_to_its_end(home: Path) -> None:
    assert status_of(asgi_app("openai", home=home), b"x" * ((1 << 20) + 1)) == 413


def test_a_refresh_that_failed_asks_the_vendor_to_deliver_again(service: stub.Running, home: Path, body: bytes) -> None:
    app = asgi_app("openai", home=home)
    service.service.failures.append("auth")
    assert [status_of(app, body), status_of(app, body)] == [500, 204]


def test_the_application_on_the_page_works(
    job: FineTuneJob, home: Path, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FINETUNE_HOME", str(home))
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    assert status_of(names["app"], body) == 204
    assert job.status is JobStatus.QUEUED
