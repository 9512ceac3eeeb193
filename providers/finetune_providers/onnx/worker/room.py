"""Disk space, reckoned before anything is written: an export that fills the disk half-way helps nobody."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from .context import Context

SHARES = {"fp32": 1.05, "bf16": 0.55, "fp16": 0.55, "int8": 0.6, "int4": 0.5}
"""A package's size as a share of the model in fp32, generously: embeddings may stay in fp32 (measured, 2026-11)."""
_SPARE = 64 << 20
_BYTES_PER_VALUE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}


def model_bytes_fp32(folder: Path) -> int | None:
    """What the model's tensors take in fp32, from the headers of its safetensors files; None where there are none."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(_values(file) for file in files) * 4 if files else None


def _values(file: Path) -> int:
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    tensors = (tensor for name, tensor in header.items() if name != "__metadata__")
    return sum(
        (tensor["data_offsets"][1] - tensor["data_offsets"][0]) // _BYTES_PER_VALUE.get(tensor["dtype"], 1)
        for tensor in tensors
    )


def needed(fp32: int, precisions: Iterable[str], *, merges: bool) -> int:
    """Bytes that an export writes at most at one time: merged model, builder's scratch, every package it keeps."""
    packages = sum(SHARES[precision] for precision in precisions)
    return int(fp32 * ((1.0 if merges else 0.0) + 1.05 + packages)) + _SPARE


def check(ctx: Context, need: int, *, free: int | None = None) -> None:
    """Fail before the first byte when it will not fit. `free`: None = what the disk of the job's folder has."""
    there = shutil.disk_usage(ctx.dir).free if free is None else free
    if there < need:
        raise ctx.Failed(
            f"not enough disk: this export needs about {need / 1e9:,.2f} GB for intermediate models in {ctx.dir}, "
            f"{there / 1e9:,.2f} GB are free. Free some, ask for fewer precisions, or set another FINETUNE_HOME; "
            "then resume the job."
        )
