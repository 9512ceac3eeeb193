# pyright: basic
"""The training code of the autotrain provider. Runs in AutoTrain's environment; never imports finetune_sdk.

AutoTrain's command line is not used: it ends with 0 on failure and leaves orphans. `main(ctx)` builds its parameter
class, hands over the data as its own preparation would, and calls its trainer in this process.
"""

from __future__ import annotations

from typing import Any

from .context import Context


def main(ctx: Context) -> dict[str, Any]:
    """Train the requested task; the dict is what result.json holds (succeeded unless it says otherwise)."""
    from . import surroundings  # noqa: PLC0415 - sets variables that the imports below read

    surroundings.settle(ctx)
    if ctx.stop:  # told to leave before there is anything to lose: do not load for seconds first
        return {"status": "cancelled"}
    from . import leaving  # noqa: PLC0415

    try:
        with leaving.when_told(ctx):
            from . import job  # noqa: PLC0415
    except leaving.Leaving:
        return {"status": "cancelled"}
    return job.run(ctx)
