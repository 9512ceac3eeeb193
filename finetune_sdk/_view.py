"""How a job looks: a table in a terminal, the same table in a notebook."""

from __future__ import annotations

import html as markup
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from finetune_sdk._records import JobRecord
from finetune_sdk.types import JobStatus

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "yellow",
    JobStatus.CANCELLING: "yellow",
    JobStatus.PAUSED: "yellow",
}


def colour(status: JobStatus) -> str:
    """The colour of a status, by name; one that both terminals and browsers know."""
    return _COLOURS.get(status, "cyan")


def table(job: JobRecord) -> Table:
    """For `rich`."""
    from rich.table import Table  # noqa: PLC0415 - only when somebody looks
    from rich.text import Text  # noqa: PLC0415

    grid = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _rows(job):
        grid.add_row(Text(name, style="dim"), Text(value, style=colour(job.status) if name == "status" else ""))
    return grid


def html(job: JobRecord) -> str:
    """For a notebook; needs no style sheet."""
    cells = (
        f"<tr><th style='text-align:left'>{markup.escape(name)}</th>"
        f"<td style='text-align:left'>{markup.escape(value)}</td></tr>"
        for name, value in _rows(job)
    )
    return f"<table>{''.join(cells)}</table>"


def _rows(job: JobRecord) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "status", str(job.status) + (f" (attempt {job.attempt})" if job.attempt > 1 else "")
    yield "provider", job.provider
    yield "base model", _part(job.spec.get("model"), job.provider)
    yield "method", _part(job.spec.get("method"), "kind")
    yield "created", f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC"
    optional = {"result": job.model, "error": job.error, "doubt": job.doubt}
    yield from ((name, value) for name, value in optional.items() if value)
    yield from ((name, f"{value:.4g}") for name, value in job.metrics.items())


def _part(value: Any, key: str) -> str:
    """A part of a mapping, or the value itself: specs of other versions must not break a display."""
    try:
        return str(value[key])
    except (KeyError, TypeError):
        return str(value)
