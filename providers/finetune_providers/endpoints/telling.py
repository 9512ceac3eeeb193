"""What an endpoint's answer says, as a `Deployment`."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import InferenceEndpoint, utils

from finetune_providers.hub import client
from finetune_sdk.errors import ProviderError, Unreachable
from finetune_sdk.types import Deployment

PROVIDER = "hf-endpoint"
KEY_ENV = "HF_TOKEN"
STATES = {
    "pending": "starting",
    "initializing": "starting",
    "updating": "starting",
    "running": "ready",
    "paused": "stopped",
    "scaledToZero": "stopped",
    "updateFailed": "failed",
    "failed": "failed",
}
"""huggingface_hub 2.4.0 `InferenceEndpointStatus`; read 2026-11-21."""
_ASLEEP = "scaled to zero: it costs nothing, and the next request wakes it"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_vendor: Any = utils


def raw(found: InferenceEndpoint) -> dict[str, Any]:
    """The whole answer of the service."""
    bare: Any = found
    answer: dict[str, Any] = bare.raw
    return answer


def told(found: InferenceEndpoint, *, ask: bool = True) -> Deployment:
    """`ask`: look whether the model itself answers, and under which name."""
    state: dict[str, Any] = raw(found)["status"]
    status: Any = STATES.get(found.status, "starting")
    url = _safe(found.url)
    model = found.repository
    if status == "ready":
        served = _served(url) if ask and url else None
        status = "starting" if ask and served is None else status
        model = served or model
    error = _ASLEEP if found.status == "scaledToZero" else None
    if status == "failed":
        error = str(state.get("message") or state.get("errorMessage") or "no reason was given")
    return Deployment(
        id=f"{found.namespace}/{found.name}",
        provider=PROVIDER,
        model=model,
        base_url=f"{url.rstrip('/')}/v1" if url else "",
        status=status,
        api_key_env=KEY_ENV,
        error=error,
    )


def _safe(url: str | None) -> str | None:
    """The address, which gets the user's token: over TLS only."""
    if url is not None and not url.startswith("https://") and urlsplit(url).hostname not in _LOOPBACK:
        raise ProviderError(f"[hf-endpoint] the endpoint's address {url!r} is not encrypted: no token is sent to it")
    return url


def _served(url: str | None) -> str | None:
    """The name the model answers under, by its own list; None = it does not answer yet."""
    headers = _vendor.build_hf_headers(token=client.token())
    try:
        with client.translated("asking the model for its name"):
            answer = _vendor.get_session().get(f"{str(url).rstrip('/')}/v1/models", headers=headers)
            if answer.status_code != 200:
                return None
            return str(answer.json()["data"][0]["id"])
    except Unreachable:
        return None
