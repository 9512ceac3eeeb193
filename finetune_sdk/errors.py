"""Every error the SDK raises, in one file.

    FineTuneError
    ├── SpecError(ValueError)            the job description is wrong; nothing was sent, nothing was charged
    │   └── Unsupported                  well formed, but this provider cannot honour it
    ├── DataError(ValueError)            the dataset is wrong; nothing was sent, nothing was charged
    ├── RegistryError(LookupError)       a provider's name leads nowhere useful
    │   ├── UnknownProvider              nothing installed has this name
    │   ├── DuplicateProvider            two installed packages claim it
    │   └── MissingExtra                 it is installed, what it imports is not
    ├── StoreError                       the job store cannot be read or written
    ├── EnvError                         a worker environment cannot be built or used
    ├── ProviderError                    the provider refused or could not be reached
    │   ├── AuthFailed
    │   ├── PermissionRefused
    │   ├── JobNotFound(LookupError)
    │   ├── Throttled                    carries `retry_after_s`
    │   ├── Unreachable                  no usable answer to a request that may be repeated
    │   ├── QuotaExceeded
    │   └── Ambiguous                    a request was sent and its answer is unknown; reconcile, never resend
    ├── BadDelivery(ValueError)          a webhook that is unsigned, forged, too old, or no event; nothing was done
    ├── BudgetExceeded                   the estimate is above the budget; nothing was sent
    ├── WrongStatus                      the verb does not fit where the job stands; nothing was done
    ├── JobFailed                        the job ended as FAILED or CANCELLED
    └── WaitTimeout(TimeoutError)        waiting ended, the job goes on

Every error pickles, its text is complete in itself, and it carries two facts a program may act on: `sent`
(did a request leave this process?) and `charged` (can it have cost money?); None means unknown.
"""

from __future__ import annotations

from typing import ClassVar


class FineTuneError(Exception):
    """Root of all SDK errors. `exit_code` is what the command line answers with."""

    sent: bool | None = False
    """Whether a request left this process; None = unknown."""
    charged: bool | None = False
    """Whether it can have cost money; None = unknown."""
    exit_code: ClassVar[int] = 1

    def __reduce__(self) -> tuple[object, ...]:
        # Subclasses may take keyword arguments; restore by state instead of calling __init__ again.
        return (_restore, (type(self), self.args, self.__dict__))


def _restore(cls: type[FineTuneError], args: tuple[object, ...], state: dict[str, object]) -> FineTuneError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class SpecError(FineTuneError, ValueError):
    """The job description is wrong. Raised before anything is sent."""

    exit_code = 2
    problems: tuple[str, ...] = ()
    """One sentence per thing that is wrong, each with its place; empty = the text is the only one."""


class Unsupported(SpecError):
    """The spec asks for something that this provider cannot do: names provider, thing and remedy."""

    def __init__(self, provider: str, what: str, remedy: str) -> None:
        super().__init__(f"[{provider}] unsupported: {what}. {remedy}")
        self.provider = provider
        self.what = what
        self.remedy = remedy


class DataError(FineTuneError, ValueError):
    """The dataset is wrong. The text starts with `file:line: JSON path:` where they are known."""

    exit_code = 3


class RegistryError(FineTuneError, LookupError):
    """A provider name that leads to no provider, to two, or to one whose extra is missing."""

    exit_code = 2


class UnknownProvider(RegistryError):
    """No installed package has a provider of this name. The text lists those there are and the nearest one."""


class DuplicateProvider(RegistryError):
    """Two installed packages claim the same provider name. The text names both; uninstall one."""


class MissingExtra(RegistryError):
    """The provider is installed, a package it imports is not. The text holds the exact command that installs it."""


class StoreError(FineTuneError):
    """The job store (the `home` folder) cannot be read or written."""

    exit_code = 2


class EnvError(FineTuneError):
    """A worker environment cannot be built, is not healthy, or lacks a package."""

    exit_code = 4


class ProviderError(FineTuneError):
    """A provider refused a request, or could not be reached."""

    exit_code = 4
    sent: bool | None = True

    def __init__(self, text: str, *, sent: bool | None = True, charged: bool | None = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.charged = charged


class AuthFailed(ProviderError):
    """The credentials are missing, wrong or expired."""


class PermissionRefused(ProviderError):
    """The credentials are good, but not for this: the account, project or organisation is not allowed."""


class JobNotFound(ProviderError, LookupError):
    """No such job: in the store, or at the provider."""


class Throttled(ProviderError):
    """Too many requests. `retry_after_s` is the provider's wish in seconds, None if it stated none."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Unreachable(ProviderError):
    """No usable answer: connection refused or lost, a time-out, a server error. Only for requests that may be repeated.

    For a request that creates something, `Ambiguous` is the word, unless it certainly never left.
    """


class QuotaExceeded(ProviderError):
    """The account's quota or credit is used up; waiting does not help."""


class Ambiguous(ProviderError):
    """A request that creates something was sent and its answer is unknown. Find out; never send it again blindly."""

    def __init__(self, text: str) -> None:
        super().__init__(text, sent=True, charged=None)


class BadDelivery(FineTuneError, ValueError):
    """Not a webhook of the vendor's: unsigned, forged, too old, or no event. Answer 400 and do nothing."""


class BudgetExceeded(FineTuneError):
    """The estimate is above `budget.max_cost_usd`, or is unknown where a budget demands one. Nothing was sent."""

    exit_code = 5


class WrongStatus(FineTuneError):
    """The verb does not fit the job's status: removing a running job, resuming one that succeeded. Nothing was done."""

    exit_code = 2


class JobFailed(FineTuneError):
    """The job ended without a model. `job_id` names it; the text carries the provider's reason."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} {reason}")
        self.job_id = job_id
        self.reason = reason
        self.sent = True
        self.charged = None


class WaitTimeout(FineTuneError, TimeoutError):
    """`wait(timeout_s=...)` gave up waiting. The job goes on; attach to it again at any time."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        super().__init__(
            f"job {job_id} is still running after {timeout_s:g} s; it goes on; attach to it again at any time"
        )
        self.job_id = job_id
        self.timeout_s = timeout_s
        self.sent = True
        self.charged = None
