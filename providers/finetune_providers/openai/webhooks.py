"""Webhooks of OpenAI and Azure OpenAI: a verified delivery becomes a refresh. Polling goes on, so one may be lost.

Deliveries are signed as in Standard Webhooks: HMAC-SHA256 over `id.timestamp.body` with the endpoint's secret. A
receiver de-duplicates by the delivery's id and never trusts its content: it only learns which job to look at.
Imports no vendor SDK.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import anyio.to_thread

TOLERANCE_S = 300.0
"""How old, or how far ahead, a delivery's timestamp may be."""
SECRET_ENV = "OPENAI_WEBHOOK_SECRET"  # noqa: S105 - the variable's name
PREFIX = "fine_tuning.job."
_REMEMBERED = 10_000
_MAX_BYTES = 1 << 20


class BadDelivery(ValueError):
    """Not a delivery of ours: unsigned, forged, too old, or no JSON. Answer 400 and do nothing."""


@dataclass(frozen=True, slots=True)
class Delivery:
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
        raise BadDelivery(f"no webhook secret is set: deliveries cannot be told from forgeries. Set {SECRET_ENV}")
    if not abs((time.time() if now_s is None else now_s) - sent_s) <= TOLERANCE_S:
        raise BadDelivery("the delivery is too old, or a clock is wrong: its timestamp is more than 5 minutes off")
    mac = hmac.new(key, b".".join((delivery.encode(), stamp.encode(), body)), hashlib.sha256)
    expected = base64.b64encode(mac.digest()).decode()
    given = [one.partition(",")[2] for one in signatures.split() if one.startswith("v1,")]
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise BadDelivery("the delivery's signature does not fit")


def read(body: bytes, headers: Mapping[str, str], *, secret: str, now_s: float | None = None) -> Delivery | None:
    """The verified delivery; None when it is about something else than a fine-tuning job. Raises `BadDelivery`."""
    verify(body, headers, secret=secret, now_s=now_s)
    try:
        event: Any = json.loads(body)
        kind, job = str(event["type"]), event["data"]["id"] if event["type"].startswith(PREFIX) else None
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise BadDelivery("the delivery is signed, but it is no event") from exc
    lower = {name.lower(): value for name, value in headers.items()}
    return None if job is None else Delivery(id=lower["webhook-id"], type=kind, job=str(job))


@dataclass(slots=True)
class Receiver:
    """Turns deliveries into calls of `refresh(job)`, once each. Thread-safe."""

    refresh: Callable[[str], object]
    """Called with the vendor's job id. It may raise: the delivery is then forgotten, so that the vendor tries again."""
    secret: str | None = field(default=None, repr=False)
    """None = the environment variable OPENAI_WEBHOOK_SECRET, read at each delivery."""
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None], repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def receive(self, body: bytes, headers: Mapping[str, str], *, now_s: float | None = None) -> Delivery | None:
        """The delivery, if it is a new one about a fine-tuning job. Raises `BadDelivery`."""
        delivery = read(body, headers, secret=self.secret or os.environ.get(SECRET_ENV, ""), now_s=now_s)
        if delivery is None or not self._first(delivery.id):
            return None
        try:
            self.refresh(delivery.job)
        except BaseException:
            with self._lock:
                self._seen.pop(delivery.id, None)
            raise
        return delivery

    def _first(self, delivery: str) -> bool:
        with self._lock:
            if delivery in self._seen:
                return False
            self._seen[delivery] = None
            if len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)
            return True


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def asgi_app(
    receiver: Receiver, *, path: str = "/webhooks/openai"
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """A small ASGI application for one receiver: run it with any server, mount it in any framework.

    204 = taken (also a repeated or an unrelated one), 400 = bad, 404 and 405 = wrong door, 413 = too large,
    500 = the refresh failed: the vendor delivers again.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(send, await _status(receiver, path, scope, receive))

    return app


async def _status(receiver: Receiver, path: str, scope: Scope, receive: Receive) -> int:
    if scope["path"] != path:
        return 404
    if scope["method"] != "POST":
        return 405
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > _MAX_BYTES:
            return 413
        if not message.get("more_body", False):
            break
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        await anyio.to_thread.run_sync(partial(receiver.receive, body, headers))
    except BadDelivery:
        return 400
    except Exception:  # noqa: BLE001 - whatever the refresh raised: the vendor is asked to deliver again
        return 500
    return 204


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
