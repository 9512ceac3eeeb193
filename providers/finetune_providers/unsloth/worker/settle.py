"""Environment variables and folder, settled before Unsloth is imported: it reads them once, and writes where it stands.

Standard library only. The switches were read in the sources of unsloth and unsloth_zoo 2026.10.9.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .local import part

_GPUS = Path("/proc/driver/nvidia")

SWITCHES = {
    "UNSLOTH_AUTO_INSTALL": "0",  # else saving GGUF runs apt-get as root, without asking
    "UNSLOTH_DISABLE_CPU_FALLBACK": "0",
    "UNSLOTH_DISABLE_STATISTICS": "1",
    "UNSLOTH_SKIP_TORCHVISION_CHECK": "1",  # there is none for CPUs
    "HF_HUB_ENABLE_HF_TRANSFER": "0",
    "TRL_EXPERIMENTAL_SILENCE": "1",
}


_SPARED_CLASSES = ("language", "general")


def unused(request: Mapping[str, Any]) -> tuple[str, ...]:
    """Packages that Unsloth and what it stands on load wherever they find them, and that this job never uses."""
    return ("scipy", "sklearn") if request["options"].get("model_class") in _SPARED_CLASSES else ()


def environment(ctx: Any) -> None:
    """Settle the variables and go into the job's folder, where Unsloth may leave what it compiles."""
    part("quiet").settle_environment(ctx)
    os.environ.update(SWITCHES)
    cache = ctx.dir / "cache"
    cache.mkdir(exist_ok=True)
    os.environ["UNSLOTH_COMPILE_LOCATION"] = str(cache / "unsloth_compiled_cache")
    device, door = ctx.request["compute"]["device"], ctx.request["options"].get("model_class")
    if door == "sentence" and (device == "cpu" or not _GPUS.exists()):
        # the CPU backend has no sentence embeddings; the class for GPUs computes where torch does
        os.environ |= {"UNSLOTH_ALLOW_CPU": "1", "UNSLOTH_COMPILE_DISABLE": "1"}
    elif device == "cpu":
        os.environ["UNSLOTH_FORCE_CPU"] = "1"
    if llama_cpp := ctx.request["options"]["llama_cpp"]:
        os.environ["UNSLOTH_LLAMA_CPP_PATH"] = llama_cpp
    os.chdir(cache)
