"""How a running comparison shows: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

from finetune_sdk.cli import _out

if TYPE_CHECKING:
    from rich.table import Table

    from finetune_sdk.compare import Comparison
    from finetune_sdk.compare.run import Tell
    from finetune_sdk.compare.state import Standing

_QUIET_S = 5.0  # elsewhere: how often asking says how far it is


class Lines(AbstractContextManager["Tell"]):
    """A line on stderr for each change of stage, and now and then while questions are asked."""

    def __init__(self) -> None:
        self._stage: dict[str, str] = {}
        self._said_s = 0.0
        self._lock = threading.Lock()

    def __enter__(self) -> Tell:
        return self._told

    def __exit__(self, *_: object) -> None:
        return None

    def _told(self, name: str, standing: Standing, done: int, of: int) -> None:
        with self._lock:
            changed = self._stage.get(name) != standing.stage
            if not changed and (standing.stage != "asking" or time.monotonic() - self._said_s < _QUIET_S):
                return
            self._stage[name], self._said_s = standing.stage, time.monotonic()
        far = f" {done}/{of}" if standing.stage == "asking" and of else ""
        _out.say(f"{name}: {standing.stage}{far}{': ' + standing.error if standing.error else ''}")


class Live(AbstractContextManager["Tell"]):
    """A table that is drawn again as it changes."""

    def __init__(self, comparison: Comparison) -> None:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.live import Live as RichLive  # noqa: PLC0415

        from finetune_sdk.compare.candidates import expand  # noqa: PLC0415

        self._rows: dict[str, tuple[str, str]] = {str(one.name): ("waiting", "") for one in expand(comparison.bench)}
        self._lock = threading.Lock()
        self._live = RichLive(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> Tell:
        self._live.__enter__()
        return self._told

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _told(self, name: str, standing: Standing, done: int, of: int) -> None:
        far = f"{done}/{of}" if of else standing.error or standing.job_id or ""
        with self._lock:
            self._rows[name] = (standing.stage, far)

    def _table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415 - only on a terminal

        table = Table(box=None, pad_edge=False)
        for column in ("candidate", "stage", ""):
            table.add_column(column)
        with self._lock:
            for name, (stage, far) in self._rows.items():
                table.add_row(name, stage, far[:80])
        return table
