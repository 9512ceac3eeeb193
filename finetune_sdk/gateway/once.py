"""A request that comes twice is done once: by its `Idempotency-Key`, for a day."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from starlette.requests import Request

from finetune_sdk.gateway.errors import ApiError
from finetune_sdk.gateway.state import State

KEPT_S = 24 * 3600
_LONGEST = 255
_making = Lock()
"""Two requests with one key are made one after the other; what is made under a key is made in one process's threads."""


@dataclass(frozen=True, slots=True)
class Mark:
    """By what a repeated request is known."""

    owner: str
    key: str
    path: str
    request_sha256: str

    @classmethod
    def of(cls, request: Request, body: bytes) -> Mark | None:
        """The mark of a request with an `Idempotency-Key`; None = it has none. Raises for one that is no key."""
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        if not 0 < len(key) <= _LONGEST:
            raise ApiError(400, f"An Idempotency-Key has 1 to {_LONGEST} characters.", code="invalid_idempotency_key")
        return cls(request.scope["owner"], key, request.url.path, hashlib.sha256(body).hexdigest())


def known(db: sqlite3.Connection, mark: Mark) -> str | None:
    """What a request with this mark made before. Raises 409 when it was another request."""
    query = "SELECT * FROM once WHERE owner = ? AND path = ? AND key = ? AND created_at > ?"
    row = db.execute(query, (mark.owner, mark.path, mark.key, time.time() - KEPT_S)).fetchone()
    if row is None:
        return None
    if row["request_sha256"] != mark.request_sha256:
        text = "This Idempotency-Key was used with another request."
        raise ApiError(409, text, code="idempotency_key_reused")
    return str(row["made"])


def note(db: sqlite3.Connection, mark: Mark, made: str) -> None:
    """Remember what a marked request made."""
    values = (mark.owner, mark.key, mark.path, mark.request_sha256, made, int(time.time()))
    db.execute("INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?, ?, ?)", values)


def once(state: State, mark: Mark | None, make: Callable[[], str]) -> str:
    """What `make` makes, or what it made for this mark before."""
    if mark is None:
        return make()
    with _making:
        before = state.write(lambda db: known(db, mark))
        if before is not None:
            return before
        made = make()
        state.write(lambda db: note(db, mark, made))
        return made
