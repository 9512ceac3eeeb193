"""Environment variables that children and libraries read once: telemetry off, threads, caches inside the job."""

from __future__ import annotations

import os
import shutil
from typing import Any

from .context import Context

SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",
    "OLIVE_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "CI": "1",  # Olive reads its own switch only after the first message has left; a CI variable stops that one too
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "warning",
}
SCRATCH = "scratch"
"""A folder of the job for what libraries write beside their output; emptied at the start and at the end."""


def threads(request: dict[str, Any]) -> int:
    """CPU threads: as asked, else one for each core this process may use, less the machine's load."""
    asked = request["compute"]["threads"]
    if asked != "auto":
        return int(asked)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, round(allowed - os.getloadavg()[0])))


def settle(ctx: Context) -> None:
    """Set them for this process and all its children."""
    scratch = ctx.dir / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    os.environ.update(SILENT)
    os.environ["TMPDIR"] = str(scratch)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads(ctx.request))
    if ctx.request["compute"]["device"] == "cpu" or ctx.request["export"]["device"] == "cpu":
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    if ctx.request["export"]["local_files_only"]:
        os.environ["HF_HUB_OFFLINE"] = "1"


def clean(ctx: Context) -> None:
    """Take the scratch folder away."""
    shutil.rmtree(ctx.dir / SCRATCH, ignore_errors=True)
