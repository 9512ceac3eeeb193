"""The one client of the Hugging Face Hub here: with time-outs, and with errors in our words. Imports the vendor's SDK.

huggingface_hub's own client waits for ever (`timeout=None`), and its create calls carry no idempotency key.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from huggingface_hub import HfApi, get_token, utils
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled

from finetune_sdk.errors import (
    AuthFailed,
    JobNotFound,
    PermissionRefused,
    ProviderError,
    QuotaExceeded,
    Throttled,
    Unreachable,
)
from finetune_sdk.redact import redact

_vendor: Any = utils
"""Its parts that carry no types."""
CONNECT_S, ANSWER_S = 10.0, 60.0
REFUSALS = frozenset({400, 401, 402, 403, 404, 422, 429})
"""Answers after which it is certain that nothing was created."""
_NO_TOKEN = "there is no token of the Hugging Face Hub. Set HF_TOKEN, or run: hf auth login"  # noqa: S105 - a sentence


def endpoint() -> str:
    """Where the Hub is: `HF_ENDPOINT`, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def token() -> str:
    """The user's token. Raises `AuthFailed` when there is none; sends nothing."""
    found = get_token()
    if not found:
        raise AuthFailed(f"[hub] {_NO_TOKEN}", sent=False)
    return found


def connect() -> HfApi:
    """A client with the user's token. Sends nothing."""
    _with_timeouts()
    return HfApi(endpoint=endpoint(), token=token())


def fetch(api: HfApi, repo: str, path: str, *, revision: str = "main") -> bytes | None:
    """A file of a model repository; None when there is none."""
    headers = _vendor.build_hf_headers(token=token())
    answer = _vendor.get_session().get(f"{api.endpoint}/{repo}/resolve/{revision}/{path}", headers=headers)
    if answer.status_code == 404 and "Repo" not in answer.headers.get("X-Error-Code", ""):
        return None
    _vendor.hf_raise_for_status(answer)
    content: bytes = answer.content
    return content


def ask(api: HfApi, path: str) -> dict[str, Any]:
    """What the Hub answers under a path, whole: the vendor's classes leave fields out."""
    answer = _vendor.get_session().get(f"{api.endpoint}/api/{path}", headers=_vendor.build_hf_headers(token=token()))
    _vendor.hf_raise_for_status(answer)
    found: dict[str, Any] = answer.json()
    return found


def _with_timeouts() -> None:
    """The factory is the whole process's: one that the program has set itself stays."""
    http = _vendor._http
    if http._GLOBAL_CLIENT_FACTORY is http.default_client_factory:
        http.set_client_factory(_client)


def _client() -> httpx2.Client:
    client: httpx2.Client = _vendor._http.default_client_factory()
    client.timeout = httpx2.Timeout(ANSWER_S, connect=CONNECT_S)
    return client


@contextmanager
def translated(doing: str) -> Generator[None]:
    """The vendor's exceptions as ours. `doing` says what was asked, such as "creating the job"."""
    try:
        yield
    except Exception as exc:
        error = ours(exc, doing)
        if error is None:
            raise
        raise error from (exc if redact(str(exc)) == str(exc) else None)


def ours(exc: Exception, doing: str) -> ProviderError | None:
    """Our error for one of the vendor's, by its type; None = it is not the vendor's."""
    if isinstance(exc, RuntimeError) and isinstance(exc.__cause__, Exception):
        exc = exc.__cause__  # how uploads of large files fail
    if isinstance(exc, HfHubHTTPError):
        return _answered(exc, doing)
    if isinstance(exc, httpx2.TransportError):
        return Unreachable(f"[hub] {doing}: no answer from {endpoint()} ({type(exc).__name__})", sent=None)
    if isinstance(exc, OfflineModeIsEnabled):
        return Unreachable(f"[hub] {doing}: HF_HUB_OFFLINE is set, so nothing was sent. Unset it.", sent=False)
    if isinstance(exc, LocalTokenNotFoundError):
        return AuthFailed(f"[hub] {doing}: {_NO_TOKEN}", sent=False)
    if isinstance(exc, ValueError | KeyError | TypeError) and not isinstance(exc, ProviderError):
        return Unreachable(f"[hub] {doing}: {endpoint()} answered with what is no answer ({type(exc).__name__})")
    return None


_WORDS: Mapping[int, tuple[type[ProviderError], str]] = {
    401: (AuthFailed, ". The token is wrong or was revoked: hf auth login, or set HF_TOKEN."),
    402: (QuotaExceeded, ". Add credit under Billing in the account's settings."),
    403: (PermissionRefused, ". The token needs to write repositories and to manage Jobs or Spaces there."),
    404: (JobNotFound, ""),
    408: (Unreachable, ""),
}


def _answered(exc: HfHubHTTPError, doing: str) -> ProviderError:
    status = exc.response.status_code
    said = redact(exc.server_message or str(exc).strip().partition("\n")[0])
    text = f"[hub] {doing}: {status} {said}".rstrip(" .")
    if status == 429:
        return Throttled(text, retry_after_s=_seconds(exc.response.headers.get("retry-after")))
    kind, advice = _WORDS.get(status, (Unreachable if status >= 500 else ProviderError, ""))
    return kind(text + advice)


def refused(exc: Exception) -> bool:
    """Whether this answer to a creating request proves that nothing was created."""
    return isinstance(exc, HfHubHTTPError) and exc.response.status_code in REFUSALS


def _seconds(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
