# pyright: basic
"""A write that failed, said so that one knows what to do: what, where, why, how much room there was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .context import Context

ERRORS = (OSError, RuntimeError, SafetensorError)
"""What writing weights raises when it cannot: Python, torch and safetensors each have their own."""
_NEARLY_FULL = 1 << 20  # what a write that failed half-way leaves over


def unwritten(ctx: Context, what: str, folder: Path, exc: Exception, *, kept: str) -> Exception:
    """The failure to raise; `kept` says what is there to go on from."""
    free = shutil.disk_usage(folder).free
    why = "the disk is full" if free < _NEARLY_FULL else " ".join(str(exc).split())
    return ctx.Failed(
        f"{what} could not be written to {folder}: {why} ({free:,} bytes were free); {kept}. "
        "Free some space, then resume the job."
    )


@contextmanager
def writing(ctx: Context, what: str, folder: Path, *, part: Path | None = None, kept: str) -> Iterator[None]:
    """Translate what goes wrong inside; `part`, written half, is taken away and gives its room back."""
    try:
        yield
    except ERRORS as exc:
        if not _about_writing(exc):
            raise
        failed = unwritten(ctx, what, folder, exc, kept=kept)
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)
        raise failed from exc


def _about_writing(exc: Exception) -> bool:
    """torch's RuntimeError stands for a thousand things; only its file writer's is ours."""
    return not isinstance(exc, RuntimeError) or any(
        word in str(exc) for word in ("PytorchStreamWriter", "write", "I/O")
    )
