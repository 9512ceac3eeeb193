# pyright: basic
"""Environment variables that libraries read once, when they are imported: set before anything heavy is loaded."""

from __future__ import annotations

import os

from . import machine
from .context import Context


def settle_environment(ctx: Context) -> None:
    """Threads, progress bars, log folders. What the user exported already wins, except where it would break a run."""
    threads = str(machine.threads(ctx.request["compute"], ctx.world_size))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = threads
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked loaders would deadlock or warn
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "warning")
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(ctx.dir / "tensorboard")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    if ctx.request["compute"]["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if ctx.request["options"]["local_files_only"]:
        os.environ["HF_HUB_OFFLINE"] = "1"
