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
    with ctx.leaving_when_told():  # AutoTrain's imports take from ten seconds to more than a minute
        from . import job  # noqa: PLC0415

    return job.run(ctx)
