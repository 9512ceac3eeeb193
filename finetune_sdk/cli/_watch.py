"""Watching a job: rounds of looking, and the two ways to show them (a live display, plain lines)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, Self

import click

from finetune_sdk._records import JobRecord
from finetune_sdk.cli._show import duration
from finetune_sdk.errors import JobFailed, WaitTimeout
from finetune_sdk.job import FineTuneJob
from finetune_sdk.store import JobStore
from finetune_sdk.types import Event, JobStatus

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress

LOCAL_POLL_S = 0.25
"""A worker on this machine is asked by reading files."""
SHORTEST_POLL_S, LONGEST_POLL_S = 0.5, 10.0
"""A vendor is asked less often the longer it says nothing."""


def rounds(job: FineTuneJob, *, after: str | None, deadline_s: float | None) -> Iterator[tuple[JobRecord, list[Event]]]:
    """Look again and again: the record, and the events since the round before. Ends when the job is at rest.

    `deadline_s` is on the monotonic clock; past it `WaitTimeout` is raised. `Ambiguous` comes through.
    """
    store, pause_s, started_s = JobStore(job.home), SHORTEST_POLL_S, time.monotonic()
    while True:
        record, rests = _look(job)
        events = store.events(job.id, after=after)
        after = events[-1].cursor if events else after
        yield record, events
        if rests:
            return
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise WaitTimeout(job.id, round(deadline_s - started_s, 1))
        pause_s = SHORTEST_POLL_S if events else min(pause_s * 1.5, LONGEST_POLL_S)
        time.sleep(LOCAL_POLL_S if (job.folder / "events.jsonl").exists() else pause_s)


def _look(job: FineTuneJob) -> tuple[JobRecord, bool]:
    """The record after asking the provider, and whether anything will still happen by itself."""
    try:
        return job.wait(timeout_s=0), True
    except WaitTimeout:
        return job.record, False
    except JobFailed:
        return job.record, True


class Display(Protocol):
    """Something that shows rounds; it may be left and entered again."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, record: JobRecord, events: Sequence[Event]) -> None: ...


class Lines:
    """A line per event and per change of status, on stderr (or stdout where events are the command's answer)."""

    def __init__(self, *, err: bool = True, every_s: float = 0.0) -> None:
        """`every_s`: of the events that only say how far training is, at most one in so many seconds."""
        self._err = err
        self._every_s = every_s
        self._last_s = float("-inf")
        self._status: JobStatus | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, record: JobRecord, events: Sequence[Event]) -> None:
        for event in events:
            if self._worth_a_line(event):
                click.echo(event_line(event), err=self._err)
        if record.status is not self._status:
            self._status = record.status
            click.echo(f"{_clock(record.updated_at)} {record.status}", err=True)

    def _worth_a_line(self, event: Event) -> bool:
        if event.level != "info" or "loss" not in event.metrics or "eval_loss" in event.metrics:
            return True
        at_s, last = event.at.timestamp(), event.step is not None and event.step == event.metrics.get("total_steps")
        if at_s - self._last_s < self._every_s and not last:
            return False
        self._last_s = at_s
        return True


def status_line(record: JobRecord) -> str:
    """Where one of many jobs stands now, as one line."""
    result = record.error or record.model or ""
    return f"{_clock(record.updated_at)} {record.id} {record.status}  {' '.join(result.split())}".rstrip()


def event_line(event: Event) -> str:
    """One event as one line."""
    words = [_clock(event.at)]
    if event.level in ("warning", "error"):
        words.append(f"{event.level}:")
    if event.step is not None:
        total = event.metrics.get("total_steps")
        words.append(f"step {event.step}/{total:.0f}" if total else f"step {event.step}")
    numbers = [text for text in _numbers(event.metrics) if text]
    if event.message and not (numbers and event.message.startswith(("step ", "loss"))):
        words.append(" ".join(event.message.split()))
    return "  ".join([" ".join(words), *numbers])


def _clock(at: datetime) -> str:
    return f"{at.astimezone():%H:%M:%S}"


def _numbers(metrics: Mapping[str, float]) -> Iterator[str]:
    if "loss" in metrics:
        yield f"loss {metrics['loss']:.4f}"
    if "eval_loss" in metrics:
        yield f"eval loss {metrics['eval_loss']:.4f}"
    if "tokens_per_s" in metrics:
        yield f"{metrics['tokens_per_s']:,.0f} tokens/s"
    if "eta_s" in metrics:
        yield f"{duration(metrics['eta_s'])} left"


class Live:
    """A progress bar with step, loss, speed and time left, the latest message below; warnings scroll above."""

    def __init__(self, job_id: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - only in a terminal
        from rich.live import Live as RichLive  # noqa: PLC0415
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        self._message = ""
        self._over = False
        self._latest: dict[str, float] = {}
        self._console = Console(stderr=True)
        self._progress: Progress = RichProgress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            console=self._console,
            expand=True,
        )
        self._task = self._progress.add_task(job_id, total=None, steps="", numbers="")
        self._live = RichLive(
            get_renderable=self._render, console=self._console, refresh_per_second=8, redirect_stdout=False
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._message = ""
        self._live.transient = not self._over  # interrupted: the bar makes room for a question, and comes back
        self._live.stop()

    def show(self, record: JobRecord, events: Sequence[Event]) -> None:
        from rich.text import Text  # noqa: PLC0415

        for event in events:
            self._latest |= event.metrics
            if event.level in ("warning", "error"):
                self._console.print(Text(event_line(event), style="yellow" if event.level == "warning" else "red"))
            elif event.message and "loss" not in event.metrics:
                self._message = " ".join(event.message.split())
            if event.step is not None:
                self._latest["step"] = max(event.step, self._latest.get("step", 0))
        self._update(record)

    def _update(self, record: JobRecord) -> None:
        self._over = record.status.terminal or (record.status is JobStatus.PAUSED and record.held)
        step, total = self._latest.get("step", 0.0), self._latest.get("total_steps")
        if record.status.terminal:
            self._latest.pop("eta_s", None)
        done = total if record.status is JobStatus.SUCCEEDED and total else step
        self._progress.update(
            self._task,
            description=f"{record.id} [bold]{record.status}[/bold]",
            total=total or (1.0 if record.status.terminal else None),
            completed=done if total else float(record.status.terminal),
            steps=f"{step:.0f}/{total:.0f}" if total else "",
            numbers=" · ".join(_numbers(self._latest)),
        )

    def _render(self) -> RenderableType:
        from rich.console import Group  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        message = [Text(f"  {self._message}", style="dim", overflow="ellipsis", no_wrap=True)] if self._message else []
        return Group(self._progress, *message)
