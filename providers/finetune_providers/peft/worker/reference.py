# pyright: basic
"""What the model thought of every answer before training: computed once by the base model, kept on disk.

So no second model stays in memory, also when all weights are trained, and a resumed run reads the same numbers.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .collate import Collator
from .completions import log_probs
from .loss import CompactHead


def precompute(job: Any, base: Any, role: str, samples: Any) -> np.ndarray:
    """Log-probability of each sample under the base model, by index. The processes share the work."""
    ctx, folder = job.ctx, job.cache / f"reference-{role}"
    if ctx.rank == 0 and not _fits(folder, len(samples)):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    job.barrier()
    mine = folder / f"{ctx.rank}-of-{ctx.world_size}.npy"
    if not mine.exists():
        ctx.event(f"reference: scoring {len(samples)} {role} answers with the base model")
        values = _score(job, base, samples, range(ctx.rank, len(samples), ctx.world_size))
        np.save(mine.with_suffix(".part.npy"), values)
        mine.with_suffix(".part.npy").replace(mine)
    job.barrier()
    whole = np.empty(len(samples), np.float32)
    for rank in range(ctx.world_size):
        whole[rank :: ctx.world_size] = np.load(folder / f"{rank}-of-{ctx.world_size}.npy")
    return whole


def _fits(folder: Path, count: int) -> bool:
    """An earlier attempt's numbers belong to these samples: they are encoded the same way every time."""
    parts = [path for path in folder.glob("*-of-*.npy") if ".part" not in path.name]
    return bool(parts) and sum(len(np.load(path)) for path in parts) == count


def _score(job: Any, base: Any, samples: Any, indices: range) -> np.ndarray:
    order = sorted(indices, key=lambda index: samples.lengths[index])
    size = job.request["training"]["batch_size"]
    collate, head, found = Collator(job.tokenizer.pad_token_id), CompactHead(base), dict[int, float]()
    training = base.training
    base.eval()
    device = base.device
    try:
        with torch.inference_mode(), _autocast(job, device):
            for start in range(0, len(order), size):
                if job.ctx.stop:
                    raise job.Stopped(job.ctx.stop)
                picked = order[start : start + size]
                batch = {name: value.to(device) for name, value in collate([samples[i] for i in picked]).items()}
                found.update(zip(picked, log_probs(base, head, batch)[0].tolist(), strict=True))
    finally:
        head.remove()
        base.train(training)
    return np.asarray([found[index] for index in indices], np.float32)


def _autocast(job: Any, device: Any) -> Any:
    dtype = torch.float16 if job.choices.precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=job.choices.autocast)
