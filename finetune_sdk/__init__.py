"""Fine-tune language models anywhere: one `FineTuneJob` over every provider."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune_sdk.errors import BudgetExceeded as BudgetExceeded
    from finetune_sdk.errors import DataError as DataError
    from finetune_sdk.errors import FineTuneError as FineTuneError
    from finetune_sdk.errors import JobFailed as JobFailed
    from finetune_sdk.errors import ProviderError as ProviderError
    from finetune_sdk.errors import SpecError as SpecError
    from finetune_sdk.errors import Unsupported as Unsupported
    from finetune_sdk.errors import WaitTimeout as WaitTimeout
    from finetune_sdk.job import AsyncFineTuneJob as AsyncFineTuneJob
    from finetune_sdk.job import FineTuneJob as FineTuneJob
    from finetune_sdk.provider import Capabilities as Capabilities
    from finetune_sdk.provider import Plan as Plan
    from finetune_sdk.provider import Provider as Provider
    from finetune_sdk.spec import JobSpec as JobSpec
    from finetune_sdk.types import Artifact as Artifact
    from finetune_sdk.types import Checkpoint as Checkpoint
    from finetune_sdk.types import Deployment as Deployment
    from finetune_sdk.types import Event as Event
    from finetune_sdk.types import JobState as JobState
    from finetune_sdk.types import JobStatus as JobStatus

__version__ = "0.1.0"

_HOMES = {
    "errors": (
        "BudgetExceeded", "DataError", "FineTuneError", "JobFailed", "ProviderError", "SpecError", "Unsupported",
        "WaitTimeout",
    ),
    "job": ("AsyncFineTuneJob", "FineTuneJob"),
    "provider": ("Capabilities", "Plan", "Provider"),
    "spec": ("JobSpec",),
    "types": ("Artifact", "Checkpoint", "Deployment", "Event", "JobState", "JobStatus"),
}  # fmt: skip
_MODULE = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_MODULE)  # noqa: PLE0605  # pyright: ignore[reportUnsupportedDunderAll] - a type checker reads the above


def __getattr__(name: str) -> object:
    """Import a public name on first use: `import finetune_sdk` itself costs nothing."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
