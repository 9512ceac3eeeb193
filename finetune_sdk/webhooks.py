"""Webhooks: a vendor's verified word about a job becomes a refresh of that job in the store.

A delivery is never believed about anything but which job to look at, so a replayed or a late one does no harm; and
whoever polls goes on polling, so a lost one costs nothing but time. How a delivery is verified is its provider's.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import anyio.to_thread

from finetune_sdk._procedures import refresh
from finetune_sdk._records import JobRecord
from finetune_sdk._steps import run
from finetune_sdk.errors import BadDelivery
from finetune_sdk.home import home_folder
from finetune_sdk.redact import redact
from finetune_sdk.registry import load
from finetune_sdk.store import JobStore

log = logging.getLogger(__name__)

_REMEMBERED = 10_000
_MAX_BYTES = 1 << 20


class Receiver:
    """Turns a provider's deliveries into refreshes of the jobs of one home, once each. Thread-safe."""

    def __init__(self, provider: str, *, home: str | Path | None = None) -> None:
        """`home` None = `FINETUNE_HOME`, else the platform's data folder. The secret is the provider's to find."""
        self.provider = provider
        self.home = home_folder(home)
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = Lock()

    def receive(self, body: bytes, headers: Mapping[str, str]) -> list[JobRecord]:
        """The jobs that were refreshed: none for a delivery seen before, or about something else.

        Raises `BadDelivery` for what is not signed, forged or too old; and what `refresh` raises: the delivery is then
        forgotten, so that it counts when the vendor tries again.
        """
        jobs = {job.ref: job for job in JobStore(self.home).unfinished() if job.provider == self.provider and job.ref}
        delivery = load(self.provider, home=self.home).webhook(body, headers, refs=[ref for ref in jobs if ref])
        if delivery is None or not self._first(delivery.id):
            return []
        try:
            return [run(refresh(self.home, jobs[ref].id)) for ref in delivery.refs if ref in jobs]
        except BaseException:
            with self._lock:
                self._seen.pop(delivery.id, None)
            raise

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
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi_app(provider: str, *, home: str | Path | None = None, path: str | None = None) -> App:
    """A small ASGI application for one provider: run it with any server, mount it in any framework.

    `path` None = `/webhooks/<provider>`. 204 = taken (also a repeated or an unrelated one), 400 = bad, 404 and 405 =
    wrong door, 413 = too large, 500 = the refresh failed: the vendor delivers again.
    """
    receiver = Receiver(provider, home=home)
    door = f"/webhooks/{provider}" if path is None else path

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _answer(send, await _status(receiver, door, scope, receive))

    return app


async def _status(receiver: Receiver, door: str, scope: Scope, receive: Receive) -> int:
    if scope["path"] != door:
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
    except Exception as exc:  # noqa: BLE001 - whatever it was: the vendor is asked to deliver again
        log.warning("a webhook of %s could not be followed up: %s", receiver.provider, redact(str(exc)))
        return 500
    return 204


async def _answer(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
