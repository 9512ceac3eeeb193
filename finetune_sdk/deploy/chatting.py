"""Asking a deployment over HTTP, without a vendor's client. Needs httpx, of the extra `serve`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from finetune_sdk.errors import AuthFailed, MissingExtra, ProviderError, Throttled, Unreachable

_CONNECT_S = 10.0
_READ_S = 600.0  # the first token of a long prompt on a slow machine


def stream(base_url: str, body: Mapping[str, Any], *, key: str | None) -> Iterator[str]:
    """The pieces of the answer as they come. Raises `ProviderError` and its kin."""
    try:
        import httpx  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise MissingExtra('chatting needs httpx. Run: pip install "finetune-sdk[serve]"') from exc
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    url = f"{base_url.rstrip('/')}/chat/completions"
    timeout = httpx.Timeout(_READ_S, connect=_CONNECT_S)
    try:
        with httpx.stream("POST", url, json={**body, "stream": True}, headers=headers, timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                raise _refusal(answer.status_code, answer.content, answer.headers.get("retry-after"))
            for line in answer.iter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    yield from _pieces(line[6:])
    except httpx.HTTPError as exc:
        raise Unreachable(f"{url} cannot be reached: {type(exc).__name__} {exc}".rstrip(), sent=None) from exc


def _pieces(data: str) -> Iterator[str]:
    chunk: dict[str, Any] = msgspec.json.decode(data)
    if error := chunk.get("error"):
        raise ProviderError(f"the answer broke off: {error.get('message')}")
    for choice in chunk.get("choices") or ():
        delta: dict[str, Any] = choice.get("delta") or {}
        if piece := delta.get("content"):
            yield piece


def _refusal(status: int, content: bytes, retry_after: str | None) -> ProviderError:
    try:
        text = str(msgspec.json.decode(content)["error"]["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = content.decode("utf-8", "replace")[:300] or "no reason given"
    if status in (401, 403):
        return AuthFailed(f"the deployment refused the key: {text}")
    if status == 429:
        wait = float(retry_after) if retry_after and retry_after.isdigit() else None
        return Throttled(f"the deployment is busy: {text}", retry_after_s=wait)
    return ProviderError(f"the deployment answered {status}: {text}")
