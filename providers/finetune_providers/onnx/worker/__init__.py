"""The ONNX worker: train, merge, build, measure, package. Runs in the worker's environment; never imports finetune_sdk.

This process only conducts: whatever loads a library runs in a child process of its own (`children`, `child`, `tasks`),
which is how a conversion can be stopped, how its memory is measured, and why one stage's leftovers never weigh on the
next. `flow` is the order of things; a finished stage leaves a marker and is not done again (`stages`).
"""

from __future__ import annotations

from typing import Any

from . import flow, surroundings
from .context import Context


def main(ctx: Context) -> dict[str, Any]:
    """The whole job; the dict is what result.json holds (succeeded unless it says otherwise)."""
    surroundings.settle(ctx)
    if ctx.stop:
        return {"status": "cancelled" if ctx.stop == "cancel" else "paused"}
    return flow.run(ctx)
