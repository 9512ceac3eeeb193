"""What every request passes: an id, who asks, from which page, how often, how slowly. Plain ASGI: it costs little."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
import time
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finetune_sdk.errors import FineTuneError
from finetune_sdk.gateway.errors import ApiError, response, translated
from finetune_sdk.gateway.keys import Keys
from finetune_sdk.gateway.service import Service
from finetune_sdk.redact import redact

log = logging.getLogger(__name__)


OPEN_PATHS = ("/", "/health", "/ready")
"""What needs no key: the page's own files hold nothing."""
_BURST_S = 10.0
_SAFE_ID = re.compile(r"[\w.-]{1,128}")


class Guard:
    """Wraps the application. What it refuses never reaches it."""

    def __init__(self, app: ASGIApp, *, service: Service, keys: Keys, loopback: bool) -> None:
        self.app = app
        self.service = service
        self.config = service.config
        self.keys = keys
        self.loopback = loopback
        self.buckets: dict[str, tuple[float, float]] = {}
        """By key: requests left, and when that was reckoned."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _SAFE_ID.fullmatch(given) else f"req_{secrets.token_hex(12)}"
        outgoing = _Outgoing(send, request_id, self._allowed_origin(headers))
        try:
            if scope["method"] == "OPTIONS" and outgoing.origin is not None:
                await outgoing.preflight()
                return
            outgoing.allowance = self._admit(scope, headers)
            await self.app(scope, _patient(receive, self.config.idle_s), outgoing)
        except ApiError as error:
            await self._refuse(error, scope, receive, outgoing)
        except FineTuneError as error:
            await self._refuse(translated(error), scope, receive, outgoing)
        except _Impatient:
            text = f"The request's next part did not come within {self.config.idle_s:g} s."
            await self._refuse(ApiError(408, text, code="request_timeout"), scope, receive, outgoing)
        except _Gone:
            return
        except Exception as error:
            log.exception("request %s failed", request_id)
            text = f"The server had an error: {type(error).__name__}. Its log has more under {request_id}."
            await self._refuse(ApiError(500, text, code="internal_error"), scope, receive, outgoing)

    async def _refuse(self, error: ApiError, scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        if outgoing.started:
            raise RuntimeError(f"the answer broke off: {redact(error.message)}")
        if scope["method"] not in ("GET", "HEAD"):
            error.headers["connection"] = "close"  # what is left of the request is not read
        await response(error)(scope, receive, outgoing)

    def _admit(self, scope: Scope, headers: Headers) -> dict[str, str]:
        """Note who asks, or refuse. Without keys only programs on this machine may, and no page of another site.

        Answers what is left of the key's allowance, as headers.
        """
        if not self.keys:
            self._refuse_strangers(headers)
        path: str = scope["path"]
        open_path = path in OPEN_PATHS or path.startswith("/static/")
        owner = self.keys.owner(_key(headers)) if self.keys and not open_path else "local"
        if owner is None:
            raise ApiError(401, "Incorrect API key provided.", code="invalid_api_key")
        scope["owner"] = owner
        return {} if open_path else self._spend(owner)

    def _refuse_strangers(self, headers: Headers) -> None:
        """A page of another site, or a name that was bent to this address, must not use a gateway without keys."""
        if self.loopback and not _is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname):
            raise ApiError(403, "This gateway has no keys: address it as 127.0.0.1 or localhost.", code="wrong_host")
        origin = headers.get("origin")
        if origin is None or origin in self.config.cors_origins or urlsplit(origin).netloc == headers.get("host"):
            return
        raise ApiError(403, "Web pages of other origins may not use this gateway.", code="wrong_origin")

    def _spend(self, owner: str) -> dict[str, str]:
        """One request of a key's allowance: a bucket that fills evenly and holds ten seconds' worth."""
        allowed = self.config.requests_per_minute
        if allowed is None:
            return {}
        now, rate = time.monotonic(), allowed / 60
        most = max(1.0, rate * _BURST_S)
        left, then = self.buckets.get(owner, (most, now))
        left = min(most, left + (now - then) * rate)
        if left < 1:
            wait_s = (1 - left) / rate
            headers = {"retry-after": str(max(1, round(wait_s + 0.5))), "retry-after-ms": str(round(wait_s * 1000) + 1)}
            self.buckets[owner] = (left, now)
            text = f"Rate limit reached: {allowed:g} requests per minute."
            raise ApiError(429, text, code="rate_limit_exceeded", headers=headers)
        self.buckets[owner] = (left - 1, now)
        return {
            "x-ratelimit-limit-requests": f"{allowed:g}",
            "x-ratelimit-remaining-requests": str(int(left - 1)),
            "x-ratelimit-reset-requests": f"{(most - left + 1) / rate:.3f}s",
        }

    def _allowed_origin(self, headers: Headers) -> str | None:
        origin = headers.get("origin")
        return origin if origin is not None and origin in self.config.cors_origins else None


def _key(headers: Headers) -> str:
    """OpenAI's header, or Azure's."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else headers.get("api-key", "")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


class _Impatient(Exception):
    """The client was too slow."""


class _Gone(Exception):
    """The client is not there any more."""


def _patient(receive: Receive, idle_s: float) -> Receive:
    """`receive` that waits only so long for the next part of a body, and for ever for its reader to leave."""
    complete = False

    async def wait() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        try:
            with anyio.fail_after(idle_s):
                message = await receive()
        except TimeoutError:
            raise _Impatient from None
        if message["type"] == "http.disconnect":
            raise _Gone
        complete = not message.get("more_body", False)
        return message

    return wait


class _Outgoing:
    """`send` that adds what every answer carries."""

    def __init__(self, send: Send, request_id: str, origin: str | None) -> None:
        self._send = send
        self._request_id = request_id
        self.origin = origin
        self.started = False
        self.allowance: dict[str, str] = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._request_id
            headers["x-content-type-options"] = "nosniff"
            headers.update(self.allowance)
            if self.origin is not None:
                headers["access-control-allow-origin"] = self.origin
                headers["vary"] = "Origin"
        await self._send(message)

    async def preflight(self) -> None:
        """What a browser asks before a page of an allowed origin may go on."""
        headers = [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", b"authorization, content-type, api-key, idempotency-key"),
            (b"access-control-max-age", b"600"),
        ]
        await self({"type": "http.response.start", "status": 204, "headers": headers})
        await self({"type": "http.response.body", "body": b""})
