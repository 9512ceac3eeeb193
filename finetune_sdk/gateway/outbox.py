"""Webhooks that the gateway sends: noted with the job's end, signed as OpenAI signs, delivered until taken.

The signature is that of Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import os
import sqlite3
import time
from collections.abc import Mapping
from functools import partial

import anyio.to_thread
import httpx
import msgspec

from finetune_sdk.errors import SpecError
from finetune_sdk.gateway.config import GatewayConfig, Webhook
from finetune_sdk.gateway.state import State, new_id

log = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S, _MOST_TRIES = 2.0, 3600.0, 60
_TIMEOUT_S = 15.0


def secret_of(hook: Webhook) -> bytes:
    """The key that deliveries to this endpoint are signed with. Raises `SpecError`, never showing it."""
    text = os.environ.get(hook.secret_env, "")
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise SpecError(f"webhooks: the variable {hook.secret_env} does not hold a secret (`whsec_` and base64)")
    return key


def signed(delivery: str, body: bytes, key: bytes, *, now_s: int) -> dict[str, str]:
    """The headers of a delivery."""
    mac = hmac.new(key, b".".join((delivery.encode(), str(now_s).encode(), body)), hashlib.sha256).digest()
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(now_s),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        "content-type": "application/json",
        "user-agent": "finetune-gateway",
    }


def post(db: sqlite3.Connection, config: GatewayConfig, job: str, status: str) -> None:
    """Note a delivery for every endpoint that wants to know; in the transaction that ends the job."""
    kind = f"fine_tuning.job.{status}"
    for hook in config.webhooks:
        if kind in hook.events:
            event_id = new_id("evt_")
            event = {
                "id": event_id,
                "object": "event",
                "type": kind,
                "created_at": int(time.time()),
                "data": {"id": job},
            }
            query = "INSERT INTO delivery (id, url, body, due_at) VALUES (?, ?, ?, ?)"
            db.execute(query, (new_id("wh_"), hook.url, msgspec.json.encode(event).decode(), time.time()))


async def deliver(state: State, hooks: Mapping[str, Webhook], client: httpx.AsyncClient) -> None:
    """Try every delivery that is due, once."""
    for row in state.read("SELECT * FROM delivery WHERE due_at <= ? ORDER BY due_at LIMIT 20", time.time()):
        hook = hooks.get(row["url"])
        taken = hook is not None and await _sent(row, hook, client)
        given_up = hook is None or row["tries"] + 1 >= _MOST_TRIES
        if given_up and not taken:
            log.warning("webhook %s to %s is given up", row["id"], row["url"])
        await anyio.to_thread.run_sync(partial(_settle, state, row, gone=taken or given_up))


async def _sent(row: sqlite3.Row, hook: Webhook, client: httpx.AsyncClient) -> bool:
    body = row["body"].encode()
    headers = signed(row["id"], body, secret_of(hook), now_s=int(time.time()))
    try:
        answer = await client.post(row["url"], content=body, headers=headers, timeout=_TIMEOUT_S)
    except httpx.HTTPError as error:
        log.warning("webhook %s to %s did not arrive: %s", row["id"], row["url"], type(error).__name__)
        return False
    if not answer.is_success:
        log.warning("webhook %s to %s was answered with %d", row["id"], row["url"], answer.status_code)
    return answer.is_success


def _settle(state: State, row: sqlite3.Row, *, gone: bool) -> None:
    if gone:
        state.change("DELETE FROM delivery WHERE id = ?", row["id"])
        return
    wait_s = min(_FIRST_WAIT_S * 2 ** row["tries"], _LONGEST_WAIT_S)
    query = "UPDATE delivery SET tries = tries + 1, due_at = ? WHERE id = ?"
    state.change(query, time.time() + wait_s, row["id"])
