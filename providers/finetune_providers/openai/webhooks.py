"""Webhooks of OpenAI and Azure OpenAI, verified. What becomes of them: `finetune_sdk.webhooks`.

Deliveries are signed as in Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` with the endpoint's secret.
Imports no vendor SDK.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune_sdk.errors import BadDelivery

TOLERANCE_S = 300.0
"""How old, or how far ahead, a delivery's timestamp may be."""
PREFIX = "fine_tuning.job."


@dataclass(frozen=True, slots=True)
class Notice:
    """A verified delivery about a fine-tuning job."""

    id: str
    """The delivery's own id: the same for every attempt to deliver it."""
    type: str
    """Such as `fine_tuning.job.succeeded`; new words are passed on as they are."""
    job: str
    """The vendor's id of the job."""


def verify(body: bytes, headers: Mapping[str, str], *, secret: str, now_s: float | None = None) -> None:
    """Raise `BadDelivery` unless the body was signed with the secret, recently. Header names in any case."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        delivery, stamp, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
        sent_s, key = float(stamp), base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (KeyError, ValueError, binascii.Error) as exc:
        raise BadDelivery("the delivery is not signed, or the secret is not `whsec_` and base64") from exc
    if not key:
        raise BadDelivery("no webhook secret is set: deliveries cannot be told from forgeries")
    if not abs((time.time() if now_s is None else now_s) - sent_s) <= TOLERANCE_S:
        raise BadDelivery("the delivery is too old, or a clock is wrong: its timestamp is more than 5 minutes off")
    mac = hmac.new(key, b".".join((delivery.encode(), stamp.encode(), body)), hashlib.sha256)
    expected = base64.b64encode(mac.digest()).decode()
    given = [one.partition(",")[2] for one in signatures.split() if one.startswith("v1,")]
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise BadDelivery("the delivery's signature does not fit")


def read(body: bytes, headers: Mapping[str, str], *, secret: str, now_s: float | None = None) -> Notice | None:
    """The verified delivery; None when it is about something else than a fine-tuning job. Raises `BadDelivery`."""
    verify(body, headers, secret=secret, now_s=now_s)
    try:
        event: Any = json.loads(body)
        kind, job = str(event["type"]), event["data"]["id"] if event["type"].startswith(PREFIX) else None
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadDelivery("the delivery is signed, but it is no event") from exc
    lower = {name.lower(): value for name, value in headers.items()}
    return None if job is None else Notice(id=lower["webhook-id"], type=kind, job=str(job))
