# pyright: basic
"""The training code of the peft provider. Runs in the worker's environment; never imports finetune_sdk.

`main(ctx)` is called by the runner with the job's context: `ctx.dir`, `ctx.request`, `ctx.event`, `ctx.stop`,
`ctx.Failed`, `ctx.attempt`, `ctx.rank`, `ctx.world_size`. One file per idea; `job` is the order of things.
"""

from __future__ import annotations


def main(ctx) -> dict:
    """Train the requested model; the dict is the content of result.json (status succeeded unless it says otherwise)."""
    from . import quiet

    quiet.settle_environment(ctx)
    from . import job

    return job.run(ctx)
