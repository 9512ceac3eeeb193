"""The vendor's client for a connection: made on first use, kept per process, its key read from the environment.

Imports the vendor SDK.
"""

from __future__ import annotations

import os
from functools import lru_cache

import httpx2
import openai

from finetune_sdk.errors import AuthFailed

from .connection import Connection

TIMEOUT_S = 120.0
_CONNECT_S = 10.0


def key_of(connection: Connection, provider: str, *, needed: bool) -> str:
    """The key from the environment. Raises `AuthFailed` when it is needed and missing."""
    key = os.environ.get(connection.api_key_env, "")
    if key or not needed:
        return key or "none"  # the SDK wants one; a server without keys ignores it
    raise AuthFailed(
        f"[{provider}] no key: set the environment variable {connection.api_key_env}. Nothing was sent.", sent=False
    )


def client(connection: Connection, key: str, *, timeout_s: float = TIMEOUT_S) -> openai.OpenAI:
    """A client that retries nothing: who may repeat a request decides that, request by request."""
    return _client(connection, key, timeout_s, os.getpid())


@lru_cache(maxsize=16)
def _client(connection: Connection, key: str, timeout_s: float, _pid: int) -> openai.OpenAI:
    # by process: sockets must not be shared across a fork
    return openai.OpenAI(
        base_url=connection.url,
        api_key=key,
        organization=connection.organization,
        project=connection.project,
        max_retries=0,
        timeout=httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
    )
