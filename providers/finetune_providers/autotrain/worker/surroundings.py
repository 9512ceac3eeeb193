# pyright: basic
"""Variables that AutoTrain and its libraries read once, when they are imported."""

from __future__ import annotations

import os

from .context import Context


def settle(ctx: Context) -> None:
    """Threads, device, and switches of AutoTrain whose defaults are not ours."""
    compute, options = ctx.request["compute"], ctx.request["options"]
    if compute["threads"] != "auto":
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(compute["threads"])
    if compute["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # AutoTrain's own default runs any code that lies beside a model
    os.environ["ALLOW_REMOTE_CODE"] = "true" if options["allow_remote_code"] else "false"
    os.environ["PAUSE_ON_FAILURE"] = "0"
    for name in ("SPACE_ID", "ENDPOINT_ID"):  # with one of them AutoTrain would pause what it takes for its host
        os.environ.pop(name, None)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["WANDB_DISABLED"] = "true"
