# pyright: basic
"""The training code of the unsloth provider. Runs in the worker's environment; never imports finetune_sdk.

Unsloth patches torch, transformers, TRL and peft when it is imported, and what was imported before stays as it was. So
the order is: environment variables, `import unsloth`, everything else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from . import settle
from .local import part


def main(ctx: Any) -> dict[str, Any]:
    """Train the requested model; the dict is what result.json holds (succeeded unless it says otherwise)."""
    settle.environment(ctx)
    from . import vendor  # noqa: PLC0415 - sees the variables

    with ctx.leaving_when_told():  # the import takes from ten seconds to a minute
        with part("spared").without(*settle.unused(ctx.request)):
            vendor.load(ctx)
        if ctx.request["method"]["kind"] == "classification":
            from . import scoring  # noqa: PLC0415 - imports what Unsloth has patched by now

            run = scoring.run
        else:
            from . import doors, job  # noqa: PLC0415 - the same

            run = partial(job.run, kind=doors.of(ctx))
    return run(ctx)
