# pyright: basic
"""Choices that depend on the machine: device, precision, gradient checkpointing. Each is announced with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch

from . import machine
from .context import Context

_SMALL_HIDDEN = 512  # below this width conversions cost more than bfloat16 saves (measured on 2-core CPUs)


@dataclass(frozen=True)
class Choices:
    """How this run computes. `weights` is the dtype the frozen or trained weights are held in."""

    device: str
    precision: str
    weights: torch.dtype
    threads: int

    @property
    def autocast(self) -> bool:
        """True when matrix products run in half precision while weights may stay fp32."""
        return self.precision != "fp32"


def choose(ctx: Context, config: Any) -> Choices:
    """Settle device, threads and precision, one event each."""
    compute, training = ctx.request["compute"], ctx.request["training"]
    device = _device(ctx, compute["device"])
    threads = _threads(ctx, device, _width(config))
    precision, reason = _precision(device, training["precision"], _width(config))
    full = ctx.request["adapter"]["kind"] == "full"
    weights = torch.float32 if full or precision == "fp32" else _DTYPES[precision]
    held = {torch.float32: "fp32"}.get(weights, precision)
    ctx.event(f"precision: {precision}, weights held in {held} ({reason})")
    return Choices(device=device, precision=precision, weights=weights, threads=threads)


_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _device(ctx: Context, asked: str) -> str:
    if asked == "cuda" and not torch.cuda.is_available():
        raise ctx.Failed("compute.device is cuda, but this interpreter's torch sees no GPU; use device: cpu or auto")
    device = "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
    why = "as asked" if asked != "auto" else "a GPU is visible" if device == "cuda" else "no GPU is visible"
    ctx.event(f"device: {device} ({why})")
    return device


def _threads(ctx: Context, device: str, width: int) -> int:
    asked = ctx.request["compute"]["threads"]
    count, why = int(os.environ["OMP_NUM_THREADS"]), "as asked"  # settled before torch was loaded
    if asked == "auto" and device == "cpu" and width < _SMALL_HIDDEN:
        count, why = 1, f"hidden size {width}: the products are too small to share"
    elif asked == "auto":
        why = f"{machine.cores()} cores, load {os.getloadavg()[0]:.1f}, {ctx.world_size} process(es)"
    torch.set_num_threads(count)
    ctx.event(f"threads: {count} per process ({why})")
    return count


def _precision(device: str, asked: str, width: int) -> tuple[str, str]:
    if asked != "auto":
        return asked, "as asked"
    if device == "cuda":
        bf16 = torch.cuda.is_bf16_supported()
        return ("bf16", "the GPU has bfloat16") if bf16 else ("fp16", "the GPU has no bfloat16")
    if not machine.native_bf16():
        return "fp32", "this CPU has no bfloat16 instructions, emulation would be slower"
    if width < _SMALL_HIDDEN:
        return "fp32", f"hidden size {width}: conversions would cost more than bfloat16 saves"
    return "bf16", "this CPU has bfloat16 instructions"


def _width(config: Any) -> int:
    return int(getattr(config.get_text_config(), "hidden_size", 0) or 0)


def gradient_checkpointing(ctx: Context, choices: Choices, config: Any, *, longest: int, parameters: int) -> bool:
    """True when the activations of the longest possible batch would not fit beside weights and optimizer state."""
    asked = ctx.request["training"]["gradient_checkpointing"]
    if asked != "auto":
        ctx.event(f"gradient checkpointing: {'on' if asked else 'off'} (as asked)")
        return asked
    need = _activation_bytes(ctx.request["training"]["batch_size"], longest, config, choices)
    free = torch.cuda.mem_get_info()[0] if choices.device == "cuda" else machine.free_memory()
    left = None if free is None else free - 12 * parameters  # gradient and two moments of each trained weight in fp32
    on = left is not None and need > 0.7 * left
    known = "memory unknown" if left is None else f"{_gb(left)} left"
    ctx.event(f"gradient checkpointing: {'on' if on else 'off'} (activations about {_gb(need)}, {known})")
    return on


def _activation_bytes(batch: int, longest: int, config: Any, choices: Choices) -> int:
    text = config.get_text_config()
    hidden = int(getattr(text, "hidden_size", 768) or 768)
    inner = int(getattr(text, "intermediate_size", 0) or 4 * hidden)
    layers = int(getattr(text, "num_hidden_layers", 12) or 12)
    per_value = 2 if choices.autocast else 4
    per_token = layers * per_value * (12 * hidden + 4 * inner) + 12 * int(getattr(text, "vocab_size", 0) or 0)
    return batch * longest * per_token


def _gb(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
