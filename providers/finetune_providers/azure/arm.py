"""Deployments of tuned models through Azure Resource Manager, with Microsoft's own client.

One account takes one change at a time; a second one is answered RequestConflict. So changes are serialised here by a
file lock, and a conflict with somebody else's is waited out. Imports the vendor SDK.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient

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

PUBLIC_URL = "https://management.azure.com"
CONFLICT = "RequestConflict"
_CONFLICT_TRIES = 30
_CONFLICT_WAIT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One Azure OpenAI resource, as Azure Resource Manager names it."""

    subscription: str
    resource_group: str
    name: str
    arm_url: str = PUBLIC_URL


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments of an account. Every verb raises our errors."""

    account: Account
    credential: Any
    """What Microsoft's clients take: an object with `get_token`."""
    lock_folder: Path
    sleep: Callable[[float], None] = time.sleep

    def get(self, name: str) -> Any | None:
        """The deployment of this name, None where there is none."""
        try:
            with _translated(f"reading deployment {name!r}"):
                return self._verbs().get(*self._place, name, **self._transport)
        except JobNotFound:
            return None

    def list(self) -> list[Any]:
        """All deployments of the account."""
        with _translated("listing deployments"):
            return list(self._verbs().list(*self._place, **self._transport))

    def put(self, name: str, body: dict[str, Any], *, wait_s: float) -> Any:
        """Create or update, and wait. Idempotent by name. The last state seen when `wait_s` ran out."""
        with self._alone():
            poller = self._unless_busy(
                lambda: self._verbs().begin_create_or_update(*self._place, name, body, **self._transport),
                f"deploying {name!r}",
            )
            with _translated(f"deploying {name!r}"):
                poller.wait(wait_s)
                if poller.done():
                    return poller.result()
        return self.get(name)

    def delete(self, name: str) -> None:
        """Delete, and wait. Nothing happens when it is not there."""
        with self._alone():
            poller = self._unless_busy(
                lambda: self._verbs().begin_delete(*self._place, name, **self._transport),
                f"deleting deployment {name!r}",
            )
            with _translated(f"deleting deployment {name!r}"):
                poller.wait()

    def _unless_busy(self, begin: Callable[[], Any], what: str) -> Any:
        for _ in range(_CONFLICT_TRIES):
            try:
                return begin()
            except HttpResponseError as exc:
                if _code(exc) != CONFLICT:
                    raise _ours(exc, what) from exc
                self.sleep(_retry_after_s(exc) or _CONFLICT_WAIT_S)
            except AzureError as exc:
                raise _ours(exc, what) from exc
        raise ProviderError(
            f"[azure] {what}: another change of the account {self.account.name!r} has not ended. Try again later."
        )

    @contextmanager
    def _alone(self) -> Generator[None, None, None]:
        self.lock_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.lock_folder / f"azure-{self.account.name}.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _verbs(self) -> Any:  # its overloads know no plain JSON bodies, which it takes
        return CognitiveServicesManagementClient(
            self.credential,
            self.account.subscription,
            base_url=self.account.arm_url,
            credential_scopes=[f"{PUBLIC_URL if self._local else self.account.arm_url}/.default"],
        ).deployments

    @property
    def _place(self) -> tuple[str, str]:
        return self.account.resource_group, self.account.name

    @property
    def _transport(self) -> dict[str, Any]:
        # a bearer token must not travel unencrypted, except to this very machine
        return {"enforce_https": False} if self._local else {}

    @property
    def _local(self) -> bool:
        return self.account.arm_url.startswith(("http://127.0.0.1:", "http://localhost:"))


def _code(exc: HttpResponseError) -> str:
    return str(getattr(exc.error, "code", "") or "")


def _retry_after_s(exc: HttpResponseError) -> float | None:
    response: Any = exc.response
    try:
        return float(response.headers["Retry-After"]) if response is not None else None
    except (KeyError, ValueError):
        return None


@contextmanager
def _translated(what: str) -> Generator[None, None, None]:
    try:
        yield
    except AzureError as exc:
        raise _ours(exc, what) from exc


def _ours(exc: AzureError, what: str) -> ProviderError:
    text = redact(f"[azure] {what}: {exc.message}")
    if isinstance(exc, ClientAuthenticationError):
        return AuthFailed(f"{text} Deploying needs Entra ID (`az login`); the resource's key is not enough.")
    if isinstance(exc, ServiceRequestError | ServiceResponseError):
        return Unreachable(text)
    if not isinstance(exc, HttpResponseError):
        return ProviderError(text)
    status = exc.status_code or 0
    if "quota" in _code(exc).lower():
        return QuotaExceeded(
            f"{text} The region's quota for this sku is used up: lower `capacity`, choose another `sku`, delete a "
            "deployment, or ask for more quota in the portal. Nothing was deployed."
        )
    if status == 429:
        return Throttled(text, retry_after_s=_retry_after_s(exc))
    if status == 403:
        text = f"{text} Deploying needs the role Foundry Owner (or Cognitive Services Contributor)."
    return _BY_STATUS.get(status, Unreachable if status >= 500 else ProviderError)(text)


_BY_STATUS: Mapping[int, type[ProviderError]] = {403: PermissionRefused, 404: JobNotFound}
