"""Refusals in OpenAI's shape, and which of our errors becomes which."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from finetune_sdk import errors
from finetune_sdk.redact import redact


class ApiError(Exception):
    """A refusal as a client of OpenAI's API understands it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})


def not_found(kind: str, name: str) -> ApiError:
    """404 for a thing that is not there."""
    return ApiError(404, f"No such {kind}: {name[:200]!r}.", param="id", code="not_found")


def response(error: ApiError) -> Response:
    """The refusal as an answer. Only 429 and what a backend's outage caused is worth a client's retry."""
    kind = {403: "permission_error", 429: "rate_limit_error"}.get(error.status)
    kind = kind or ("server_error" if error.status >= 500 else "invalid_request_error")
    told = {"message": redact(error.message), "type": kind, "param": error.param, "code": error.code}
    retry = error.status in (429, 502, 503)
    headers = {"x-should-retry": "true" if retry else "false", **error.headers}
    return Response(msgspec.json.encode({"error": told}), error.status, headers, "application/json")


_STATUSES: tuple[tuple[type[errors.FineTuneError], int, str], ...] = (  # the first that fits
    (errors.Unsupported, 400, "unsupported"),
    (errors.SpecError, 400, "invalid_request"),
    (errors.DataError, 400, "invalid_training_file"),
    (errors.BudgetExceeded, 400, "budget_exceeded"),
    (errors.WrongStatus, 400, "wrong_status"),
    (errors.JobNotFound, 404, "not_found"),
    (errors.Throttled, 429, "rate_limit_exceeded"),
    (errors.QuotaExceeded, 429, "insufficient_quota"),
    (errors.PermissionRefused, 403, "backend_refused"),
    (errors.Unreachable, 503, "backend_unreachable"),
    (errors.Ambiguous, 502, "backend_outcome_unknown"),
    (errors.ProviderError, 502, "backend_error"),
    (errors.RegistryError, 500, "backend_not_installed"),
    (errors.EnvError, 500, "environment_missing"),
    (errors.StoreError, 507, "storage_failed"),
)


def code_of(error: errors.FineTuneError) -> str:
    """The word for an error in a job's `error.code`."""
    return next((code for kind, _, code in _STATUSES if isinstance(error, kind)), "job_failed")


def translated(error: errors.FineTuneError) -> ApiError:
    """One of our errors as a refusal."""
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            headers: dict[str, str] = {}
            if isinstance(error, errors.Throttled) and error.retry_after_s is not None:
                headers["retry-after"] = str(max(1, round(error.retry_after_s)))
            return ApiError(status, str(error), code=code, headers=headers)
    return ApiError(500, str(error), code="backend_error")
