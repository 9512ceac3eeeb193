"""Webhooks: what is signed and recent is read, everything else refused; the vendor's own code agrees."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import openai
import pytest
from finetune_providers.azure.provider import AzureProvider
from finetune_providers.openai.provider import OpenAIProvider
from finetune_providers.openai.webhooks import TOLERANCE_S, read
from wire.helpers import SECRET, delivery, signed

from finetune_sdk.errors import BadDelivery

BODY = delivery("ftjob-1")


def job_of(body: bytes, headers: dict[str, str]) -> str | None:
    notice = read(body, headers, secret=SECRET)
    return None if notice is None else notice.job


def test_a_signed_delivery_names_its_job() -> None:
    assert job_of(BODY, signed(BODY)) == "ftjob-1"


def test_the_vendors_own_verification_agrees_with_ours() -> None:
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    client.webhooks.verify_signature(BODY.decode(), signed(BODY))


def test_one_fitting_signature_among_several_is_enough() -> None:
    assert job_of(BODY, signed(BODY, extra="v1,bm90IGl0 v2,x ")) == "ftjob-1"


NOT_OURS: dict[str, Callable[[], dict[str, str]]] = {  # made when they are needed: time passes
    "forged": lambda: signed(BODY, secret="whsec_" + base64.b64encode(b"another secret").decode()),
    "replayed late": lambda: signed(BODY, age_s=TOLERANCE_S + 5),
    "from the future": lambda: signed(BODY, age_s=-TOLERANCE_S - 5),
    "an hour off": lambda: signed(BODY, age_s=3600),
    "other id": lambda: {**signed(BODY), "Webhook-Id": "wh_2"},
    "no time": lambda: {**signed(BODY), "Webhook-Timestamp": "nan"},
    "empty": lambda: {**signed(BODY), "Webhook-Signature": ""},
    "half signed": lambda: {"Webhook-Id": "wh_1"},
    "unsigned": dict,
}


@pytest.mark.parametrize("kind", NOT_OURS)
def test_what_is_not_signed_and_recent_is_refused(kind: str) -> None:
    with pytest.raises(BadDelivery):
        job_of(BODY, NOT_OURS[kind]())


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(BadDelivery, match="signature"):
        job_of(BODY.replace(b"ftjob-1", b"ftjob-2"), signed(BODY))


def test_a_word_nobody_knows_yet_still_names_its_job() -> None:
    body = BODY.replace(b"succeeded", b"paused")
    assert job_of(body, signed(body)) == "ftjob-1"


def test_other_events_are_taken_and_ignored() -> None:
    body = json.dumps({"type": "response.completed", "data": {"id": "resp_1"}}).encode()
    assert job_of(body, signed(body)) is None


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"type": 1}', b'{"type": "fine_tuning.job.failed"}'])
def test_signed_nonsense_is_bad(body: bytes) -> None:
    with pytest.raises(BadDelivery, match="no event"):
        job_of(body, signed(body))


@pytest.mark.parametrize("kind", [OpenAIProvider, AzureProvider])
def test_without_a_secret_nothing_is_believed_and_its_variable_is_named(
    kind: type[OpenAIProvider], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kind.webhook_secret_env, raising=False)
    with pytest.raises(BadDelivery, match=kind.webhook_secret_env):
        kind(home=tmp_path).webhook(BODY, signed(BODY, secret="whsec_"), refs=["ftjob-1"])
