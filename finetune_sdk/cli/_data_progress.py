"""A bar on stderr while a dataset is read: in a terminal only, after a second, and gone before the answer."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

    from finetune_sdk.data.progress import Reading

_PATIENCE_S = 1.0


@contextmanager
def shown() -> Generator[None]:
    """Show how far reading has got inside this block."""
    if not sys.stderr.isatty():
        yield
        return
    from finetune_sdk.data.progress import watched  # noqa: PLC0415 - not for `--help`

    with watched(_Bar().tell):
        yield


class _Bar:
    def __init__(self) -> None:
        self._since = time.monotonic()
        self._bar: Progress | None = None
        self._lock = threading.Lock()

    def tell(self, now: Reading | None) -> None:
        with self._lock:
            if now is None:
                self._hide()
            elif time.monotonic() - self._since > _PATIENCE_S:
                self._show(now)

    def _show(self, now: Reading) -> None:
        if self._bar is None:
            from rich import progress  # noqa: PLC0415
            from rich.console import Console  # noqa: PLC0415

            columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn())
            last = (progress.TransferSpeedColumn(), progress.TimeRemainingColumn())
            self._bar = progress.Progress(*columns, *last, console=Console(stderr=True), transient=True)
            self._bar.add_task(Path(now.file).name)
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=now.done, total=now.total, description=Path(now.file).name)

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
