# pyright: basic
"""The training code of the peft provider. Runs in the worker's environment; never imports finetune_sdk.

`main(ctx)` is called by the runner with the job's context: `ctx.dir`, `ctx.request`, `ctx.event`, `ctx.stop`,
`ctx.Failed`, `ctx.attempt`, `ctx.rank`, `ctx.world_size`. One file per idea; `job` is the order of things.
"""

from __future__ import annotations

from typing import Any

from .context import Context


def main(ctx: Context) -> dict[str, Any]:
    """Train the requested model; the dict is what result.json holds (succeeded unless it says otherwise)."""
    from . import quiet, spared  # noqa: PLC0415 - settle what the imports below see

    quiet.settle_environment(ctx)
    with ctx.leaving_when_told(), spared.imports(ctx.request):
        from . import job  # noqa: PLC0415

    return job.run(ctx)
