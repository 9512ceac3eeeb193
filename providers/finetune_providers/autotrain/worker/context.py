"""What the runner hands to `main`, as far as this worker uses it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Context(Protocol):
    """The runner's `ctx`."""

    Failed: type[Exception]
    """Raise it with a reason: the job ends as FAILED with that text, without a traceback."""
    dir: Path
    job_id: str
    request: dict[str, Any]
    """As `map.request` of the provider makes it."""
    attempt: int
    rank: int
    world_size: int

    @property
    def stop(self) -> str | None:
        """None, "pause" or "cancel"."""
        ...

    def leaving_when_told(self) -> AbstractContextManager[None]:
        """Open it while importing: being told to stop ends this process at once."""
        ...

    def event(self, message: str, *, level: str = "info", step: int | None = None, **metrics: float) -> None:
        """One line of the job's history; ranks other than 0 write nothing."""
        ...
