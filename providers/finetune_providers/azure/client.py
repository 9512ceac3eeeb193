"""The vendor's client for an Azure OpenAI resource, in both generations, with a key or an Entra token.

Imports the vendor SDKs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache

import httpx2
import openai

from finetune_providers.openai.connection import Connection
from finetune_sdk.errors import AuthFailed
from finetune_sdk.redact import redact

from .map import SCOPES

CONNECT_S = 10.0
Token = Callable[[], str]


def client(connection: Connection, *, timeout_s: float, token: Token | None) -> openai.OpenAI:
    """A client that retries nothing. `token` answers Entra tokens; None = the key in the environment."""
    key = None if token else os.environ[connection.api_key_env]
    return _client(connection, key, token, timeout_s, os.getpid())


@lru_cache(maxsize=16)
def _client(connection: Connection, key: str | None, token: Token | None, timeout_s: float, _pid: int) -> openai.OpenAI:
    timeout = httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s))
    if connection.wire == "v1":
        return openai.OpenAI(
            base_url=f"{connection.url}/openai/v1/",
            api_key=key or token,
            default_headers={"api-key": key} if key else None,  # the contract names this header, the guide the other
            max_retries=0,
            timeout=timeout,
        )
    return openai.AzureOpenAI(
        azure_endpoint=connection.url,
        api_version=connection.wire,
        api_key=key,
        azure_ad_token_provider=token,
        max_retries=0,
        timeout=timeout,
    )


@lru_cache(maxsize=4)
def entra_token(scope: str, _pid: int) -> Token:
    """Tokens of whoever DefaultAzureCredential finds: environment, managed identity, Azure CLI, ..."""
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import DefaultAzureCredential, get_bearer_token_provider

    provider = get_bearer_token_provider(DefaultAzureCredential(), scope)

    def token() -> str:
        try:
            return provider()
        except ClientAuthenticationError as exc:
            raise AuthFailed(
                redact(
                    "[azure] no Entra ID token. Set AZURE_OPENAI_API_KEY, or sign in with `az login`, or set "
                    f"AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET. Details: {exc.message}"
                ),
                sent=False,
            ) from exc

    return token


def scope_of(connection: Connection) -> str:
    """The scope its tokens need."""
    return connection.setting("scope") or SCOPES[connection.wire]
