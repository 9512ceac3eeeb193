"""The vendor SDK's exceptions, by type and status, as ours. The one place that knows them.

Imports the vendor SDK: only to be imported once a request is about to be made.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, cast

import httpx2
import openai

from finetune_sdk.errors import (
    AuthFailed,
    FineTuneError,
    JobNotFound,
    PermissionRefused,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unreachable,
)
from finetune_sdk.redact import redact

MAYBE_DONE = frozenset({408, 409, 429})
"""Statuses below 500 after which a creating request may still have been carried out (a proxy may have answered)."""

_NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)

_BY_CODE: Mapping[str, type[ProviderError]] = {
    # OpenAI: the guide to error codes; Azure: ErrorCode in the 2024-10-21 Swagger; both read 2026-11-20
    "insufficient_quota": QuotaExceeded,
    "billing_hard_limit_reached": QuotaExceeded,
    "quotaExceeded": QuotaExceeded,
    "invalid_api_key": AuthFailed,
    "unauthorized": AuthFailed,
    "forbidden": PermissionRefused,
    "tooManyRequests": Throttled,
    "serviceUnavailable": Unreachable,
    "internalFailure": Unreachable,
}
_BY_STATUS: Mapping[int, type[ProviderError]] = {
    401: AuthFailed,
    403: PermissionRefused,
    404: JobNotFound,
    408: Unreachable,
    429: Throttled,
}


@contextmanager
def translated(provider: str, what: str, *, remedy: str = "") -> Generator[None, None, None]:
    """Turn whatever the vendor SDK raises inside the block into our errors. `what` names the deed: "reading job x"."""
    try:
        yield
    except (openai.OpenAIError, httpx2.HTTPError, json.JSONDecodeError) as exc:
        _raise(ours(exc, provider, what, remedy), exc)


def ours(exc: Exception, provider: str, what: str, remedy: str = "") -> ProviderError:
    """Our error for one of the vendor's."""
    head = f"[{provider}] {what}: "
    tail = f" {remedy}" if remedy else ""
    if isinstance(exc, openai.APIStatusError):
        return _from_status(exc, head, tail)
    if isinstance(exc, openai.APIConnectionError | httpx2.HTTPError):
        return Unreachable(redact(f"{head}no answer ({_reason(exc)}).{tail}"), sent=not never_left(exc))
    if isinstance(exc, json.JSONDecodeError | openai.APIResponseValidationError):
        return Unreachable(f"{head}the answer is not what the API promises (broken or cut off).{tail}")
    return AuthFailed(redact(f"{head}{exc}{tail}"), sent=False)  # the SDK found no usable credentials


def _from_status(exc: openai.APIStatusError, head: str, tail: str) -> ProviderError:
    status = exc.status_code
    kind = _BY_CODE.get(exc.code or "") or _BY_STATUS.get(status, Unreachable if status >= 500 else ProviderError)
    identity = f", request {exc.request_id}" if exc.request_id else ""
    text = redact(f"{head}{message(exc)} (HTTP {status}{identity}).{_HINTS.get(kind, '')}{tail}")
    if kind is Throttled:
        return Throttled(text, retry_after_s=retry_after_s(exc))
    return kind(text)


_HINTS: Mapping[type[ProviderError], str] = {
    AuthFailed: " Check the key or token in the environment, and that it belongs to this endpoint.",
    JobNotFound: " Either it is not there, or this is not its server: check the endpoint and its version.",
    QuotaExceeded: " Waiting does not help: raise the limit or add credit.",
}


def message(exc: openai.APIStatusError) -> str:
    """The vendor's own sentence; for a page or an empty body, what came instead."""
    body: object = exc.body
    if isinstance(body, dict) and isinstance(text := cast("dict[str, Any]", body).get("message"), str):
        param = cast("dict[str, Any]", body).get("param")
        return f"{text.rstrip('.')}" + (f" [{param}]" if isinstance(param, str) and param not in text else "")
    if "html" in exc.response.headers.get("content-type", ""):
        return "a web page came instead of the API's answer; check the endpoint"
    return exc.response.reason_phrase or "no reason given"


def retry_after_s(exc: openai.APIStatusError) -> float | None:
    """Seconds the server asks to wait; None if it does not say. A date is read by the server's own clock, not ours."""
    headers: Mapping[str, str] = exc.response.headers
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * scale)
        except (KeyError, ValueError):
            continue
    try:
        until, now = (parsedate_to_datetime(headers[name]) for name in ("retry-after", "date"))
        return max(0.0, (until - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def never_left(exc: BaseException) -> bool:
    """True when no byte of the request can have reached the server."""
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) else exc
    return isinstance(cause, _NEVER_LEFT)


def refused(exc: Exception) -> bool:
    """True when a creating request was certainly not carried out; False = nobody knows."""
    if isinstance(exc, openai.APIStatusError):
        return exc.status_code < 500 and exc.status_code not in MAYBE_DONE
    return never_left(exc) or type(exc) is openai.OpenAIError


def expect(answer: object, kind: type[Any], provider: str, what: str) -> Any:
    """The answer, if it is of the kind the API promises. A page or a list is how a wrong endpoint looks."""
    if isinstance(answer, kind):
        return answer
    raise ProviderError(
        f"[{provider}] {what}: the server answered with a {type(answer).__name__} instead of the API's object. "
        "This is not the fine-tuning API: check the endpoint (`base_url`), and that no login page stands before it."
    )


def _reason(exc: Exception) -> str:
    cause = exc.__cause__ or exc
    return str(cause) or type(cause).__name__


def _raise(error: FineTuneError, exc: Exception) -> NoReturn:
    # a server may echo the key in its message; then the chain would print what our own text has blacked out
    raise error from (exc if redact(str(exc)) == str(exc) else None)
