"""Webhooks: what is signed and new becomes a refresh, everything else nothing; the vendor's own code agrees."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from finetune_providers.openai.webhooks import TOLERANCE_S, BadDelivery, Receiver, asgi_app

SECRET = "whsec_" + base64.b64encode(b"a webhook secret of ours").decode()
BODY = json.dumps({"id": "evt_1", "type": "fine_tuning.job.succeeded", "data": {"id": "ftjob-1"}}).encode()


def signed(
    body: bytes = BODY, *, delivery: str = "wh_1", age_s: float = 0.0, secret: str = SECRET, extra: str = ""
) -> dict[str, str]:
    stamp = str(int(time.time() - age_s))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{delivery}.{stamp}.".encode() + body, hashlib.sha256).digest()
    signature = f"{extra}v1,{base64.b64encode(mac).decode()}"
    return {"Webhook-Id": delivery, "Webhook-Timestamp": stamp, "Webhook-Signature": signature}


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def receiver(seen: list[str]) -> Receiver:
    return Receiver(seen.append, secret=SECRET)


def test_a_signed_delivery_refreshes_its_job(receiver: Receiver, seen: list[str]) -> None:
    receiver.receive(BODY, signed())
    assert seen == ["ftjob-1"]


def test_the_vendors_own_verification_agrees_with_ours() -> None:
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    client.webhooks.verify_signature(BODY.decode(), signed())


def test_one_fitting_signature_among_several_is_enough(receiver: Receiver, seen: list[str]) -> None:
    receiver.receive(BODY, signed(extra="v1,bm90IGl0 v2,x "))
    assert seen == ["ftjob-1"]


NOT_OURS: dict[str, Callable[[], dict[str, str]]] = {  # made when they are needed: time passes
    "forged": lambda: signed(secret="whsec_" + base64.b64encode(b"another secret").decode()),
    "replayed late": lambda: signed(age_s=TOLERANCE_S + 5),
    "from the future": lambda: signed(age_s=-TOLERANCE_S - 5),
    "other id": lambda: {**signed(), "Webhook-Id": "wh_2"},
    "no time": lambda: {**signed(), "Webhook-Timestamp": "nan"},
    "empty": lambda: {**signed(), "Webhook-Signature": ""},
    "half signed": lambda: {"Webhook-Id": "wh_1"},
    "unsigned": dict,
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_what_is_not_signed_and_recent_does_nothing(receiver: Receiver, seen: list[str], kind: str) -> None:
    with pytest.raises(BadDelivery):
        receiver.receive(BODY, NOT_OURS[kind]())
    assert seen == []


def test_a_changed_body_does_nothing(receiver: Receiver, seen: list[str]) -> None:
    with pytest.raises(BadDelivery):
        receiver.receive(BODY.replace(b"ftjob-1", b"ftjob-2"), signed())
    assert seen == []


def test_a_repeated_delivery_refreshes_once(receiver: Receiver, seen: list[str]) -> None:
    headers = signed()
    receiver.receive(BODY, headers)
    assert receiver.receive(BODY, headers) is None
    assert seen == ["ftjob-1"]


def test_a_delivery_whose_refresh_failed_is_taken_when_it_comes_again(seen: list[str]) -> None:
    def refresh(job: str) -> None:
        seen.append(job)
        if len(seen) == 1:
            raise ConnectionError("the network is down")

    receiver = Receiver(refresh, secret=SECRET)
    with pytest.raises(ConnectionError):
        receiver.receive(BODY, signed())
    receiver.receive(BODY, signed())
    assert seen == ["ftjob-1", "ftjob-1"]


def test_a_word_nobody_knows_yet_still_refreshes(receiver: Receiver, seen: list[str]) -> None:
    body = BODY.replace(b"succeeded", b"paused")
    receiver.receive(body, signed(body))
    assert seen == ["ftjob-1"]


def test_other_events_are_taken_and_ignored(receiver: Receiver, seen: list[str]) -> None:
    body = json.dumps({"type": "response.completed", "data": {"id": "resp_1"}}).encode()
    assert receiver.receive(body, signed(body)) is None
    assert seen == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"type": 1}', b'{"type": "fine_tuning.job.failed"}'])
def test_signed_nonsense_is_bad(receiver: Receiver, body: bytes) -> None:
    with pytest.raises(BadDelivery):
        receiver.receive(body, signed(body))


def test_without_a_secret_nothing_is_believed(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_WEBHOOK_SECRET", raising=False)
    with pytest.raises(BadDelivery, match="OPENAI_WEBHOOK_SECRET"):
        Receiver(seen.append).receive(BODY, signed(secret="whsec_"))


def test_the_secret_is_not_in_the_receivers_repr(receiver: Receiver) -> None:
    assert SECRET not in repr(receiver)


def status_of(app: Any, *, body: bytes = BODY, headers: dict[str, str] | None = None, **scope: Any) -> int:
    sent: list[dict[str, Any]] = []
    pieces = [body[:5], body[5:]]

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or signed(body)).items()]
    full = {"type": "http", "method": "POST", "path": "/webhooks/openai", "headers": raw, **scope}
    asyncio.run(app(full, receive, send))
    return int(sent[0]["status"])


def _fails(_job: str) -> None:
    raise ConnectionError("the network is down")


@pytest.mark.parametrize(
    ("refresh", "request_", "status"),
    [
        (print, {}, 204),
        (print, {"headers": {"webhook-id": "x"}}, 400),
        (print, {"path": "/elsewhere"}, 404),
        (print, {"method": "GET"}, 405),
        (print, {"body": b"x" * ((1 << 20) + 1)}, 413),
        (_fails, {}, 500),
    ],
    ids=["taken", "bad", "wrong path", "wrong method", "too large", "refresh failed"],
)
def test_the_asgi_app_says_what_became_of_it(
    refresh: Callable[[str], object], request_: dict[str, Any], status: int
) -> None:
    assert status_of(asgi_app(Receiver(refresh, secret=SECRET)), **request_) == status
