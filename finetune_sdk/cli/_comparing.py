"""How a running comparison shows: a live table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from finetune_sdk.cli import _out

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from finetune_sdk.compare import Comparison
    from finetune_sdk.compare.state import Standing
    from finetune_sdk.compare.work import Tell

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
    """A table that is drawn again as it changes; no line of it is longer than the terminal is wide."""

    def __init__(self, comparison: Comparison) -> None:
        from rich.console import Console  # noqa: PLC0415 - only on a terminal
        from rich.live import Live as RichLive  # noqa: PLC0415

        from finetune_sdk.compare.candidates import expand  # noqa: PLC0415

        self._rows = {str(one.name): _Row() for one in expand(comparison.bench)}
        self._known = frozenset(self._rows)
        self._lock = threading.Lock()
        self._begun = time.monotonic()
        self._live = RichLive(console=Console(stderr=True), get_renderable=self._table, refresh_per_second=4)

    def __enter__(self) -> Tell:
        self._live.__enter__()
        return self._told

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _told(self, name: str, standing: Standing, done: int, of: int) -> None:
        with self._lock:
            if name not in self._known and standing.stage in _OVER and not name.endswith("-found"):
                self._rows.pop(name, None)  # pilots come and go: there may be more than lines
                return
            row = self._rows.setdefault(name, _Row())
            if row.stage != standing.stage:
                row.stage, row.since = standing.stage, time.monotonic()
            row.done, row.of, row.error = done, of, standing.error

    def _table(self) -> Table:
        from rich.table import Table  # noqa: PLC0415 - only on a terminal

        clock = f"{_clock(self._begun)} so far"
        table = Table(box=None, pad_edge=False, expand=True, caption=clock, caption_justify="left")
        longest = max(9, *map(len, self._rows))
        table.add_column("candidate", no_wrap=True, overflow="ellipsis", width=min(32, longest), style="bold")
        table.add_column("stage", no_wrap=True, width=11)
        table.add_column("answers", justify="right", no_wrap=True, width=11)
        table.add_column("", no_wrap=True, overflow="ellipsis", style="dim", ratio=1)
        with self._lock:
            for name, row in self._rows.items():
                far = f"{row.done}/{row.of}" if row.of else ""
                table.add_row(name, f"[{_COLOURS.get(row.stage, 'default')}]{row.stage}[/]", far, row.text)
        return table


_OVER = ("done", "failed", "over budget")
_COLOURS = {"done": "green", "failed": "red", "over budget": "yellow", "waiting": "dim"}


@dataclass(slots=True)
class _Row:
    """What is shown of a candidate."""

    stage: str = "waiting"
    since: float = 0.0
    done: int = 0
    of: int = 0
    error: str | None = None

    @property
    def text(self) -> Text:
        """Why it failed, in a line; else how long it has been at this."""
        from rich.text import Text  # noqa: PLC0415 - only on a terminal

        if self.error:
            return Text(" ".join(self.error.split()))
        return Text("" if self.stage in ("waiting", "done") else _clock(self.since))


def _clock(since: float) -> str:
    seconds = int(time.monotonic() - since)
    return f"{seconds // 60}:{seconds % 60:02d}"
