# pyright: basic
"""What the job leaves: adapter, merged 16-bit model, tokenizer, model card, and GGUF where asked.

Merging has failed silently in several of Unsloth's versions, so a merged model is compared with its base before the
job says that there is one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from . import vendor
from .local import part

_artifacts, _disk, _checkpoints, _card = (part(name) for name in ("artifacts", "disk", "checkpoints", "card"))


def save(job: Any, model: Any, *, metrics: dict[str, float], settled: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the artifacts aside and swap them in; returns them as result.json lists them."""
    ctx, root, aside = job.ctx, job.ctx.dir / "artifacts", job.ctx.dir / "artifacts.part"
    shutil.rmtree(aside, ignore_errors=True)
    kept = _checkpoints.kept(ctx.dir / "checkpoints")
    text = _card.text(ctx, metrics=metrics, settled=settled, task=getattr(job, "task", None))
    with _disk.writing(ctx, "the trained model", ctx.dir, part=aside, kept=kept):
        aside.mkdir()
        kinds = job.write(model, aside)
        for folder in [*(aside / kind for kind in kinds), aside / "tokenizer"]:
            job.tokenizer.save_pretrained(folder)
            (folder / "README.md").write_text(text, encoding="utf-8")
    root.mkdir(exist_ok=True)
    for kind in (*kinds, "tokenizer"):
        shutil.rmtree(root / kind, ignore_errors=True)
        (aside / kind).rename(root / kind)
    aside.rmdir()
    listed = [
        _artifacts.describe(ctx, kind, source=job.source, tokenizer=job.tokenizer) for kind in (*kinds, "tokenizer")
    ]
    return [*listed, *_gguf(job, model)]


def write(job: Any, model: Any, folder: Path) -> list[str]:
    """Under the names every provider uses: `adapter` and `merged`, or `model`."""
    if job.request["adapter"]["kind"] == "full":
        model.save_pretrained(folder / "model")
        differs(job, folder / "model")
        return ["model"]
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.source
    model.save_pretrained(folder / "adapter", save_embedding_layers=False)
    if not job.request["options"]["merge"]:
        return ["adapter"]
    try:
        with vendor.tolerated():
            model.save_pretrained_merged(str(folder / "merged"), job.tokenizer, save_method="merged_16bit")
    except NotImplementedError as exc:
        shutil.rmtree(folder / "merged", ignore_errors=True)
        job.ctx.event(f"no merged model: {' '.join(str(exc).split())}", level="warning")
        return ["adapter"]
    differs(job, folder / "merged")
    return ["adapter", "merged"]


def differs(job: Any, folder: Path) -> None:
    """Fail unless the written weights are others than the base model's, and all of them are numbers."""
    changed = compared = 0
    known = {(dtype, value) for (_, dtype), value in job.base_digest.items()}
    for name, tensor in _tensors(folder):
        if not bool(torch.isfinite(tensor).all()):
            raise job.ctx.Failed(
                f"{name} of the {folder.name} model is not finite; lower hyperparameters.learning_rate"
            )
        before = job.base_digest.get((name, tensor.dtype))
        if known and tensor.dtype in _SAVED_AS:
            now = _sum(tensor, tensor.dtype)
            compared += 1  # models that see are saved under other names than they are held
            changed += now != before if before is not None else (tensor.dtype, now) not in known
    if compared and not changed:
        raise job.ctx.Failed(
            f"Unsloth wrote a {folder.name} model that equals its base in all {compared} compared weights: training "
            "did not reach it. The checkpoints are kept; see worker.log"
        )
    told = f"{changed} of {compared} weights differ from the base" if compared else "not compared with the base"
    job.ctx.event(f"{folder.name}: {told}", weights_changed=float(changed))


def digest(model: Any) -> dict[tuple[str, torch.dtype], float]:
    """A number per weight of the untrained model, for each precision it may be saved in; empty for a quantised one."""
    state: Mapping[str, torch.Tensor] = model.state_dict()
    if any(value.dtype in (torch.uint8, torch.int8) for value in state.values()):
        return {}
    return {(name, dtype): _sum(value, dtype) for name, value in state.items() for dtype in _SAVED_AS}


_SAVED_AS = (torch.float32, torch.bfloat16, torch.float16)
_PIECE = 1 << 24  # so that an embedding of gigabytes is not held twice


def _sum(value: torch.Tensor, dtype: torch.dtype) -> float:
    pieces = value.detach().flatten().split(_PIECE)
    return sum(float(piece.to("cpu", dtype).float().square().sum()) for piece in pieces)


def _tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                yield name, opened.get_tensor(name)


def _gguf(job: Any, model: Any) -> list[dict[str, Any]]:
    """The files asked for. The model is safe by now: what fails here is an event, not a failed job."""
    kinds, ctx = job.request["options"]["gguf"], job.ctx
    if not kinds:
        return []
    folder = ctx.dir / "artifacts" / "gguf"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with vendor.tolerated():
            model.save_pretrained_gguf(str(folder), job.tokenizer, quantization_method=list(kinds))
    except (OSError, RuntimeError, ValueError, NotImplementedError) as exc:
        shutil.rmtree(folder, ignore_errors=True)
        ctx.event(f"no GGUF: {' '.join(str(exc).split())[:400]}", level="error")
        return []
    found = [str(path.relative_to(ctx.dir)) for path in sorted(folder.rglob("*.gguf"))]
    ctx.event(f"GGUF: {json.dumps(found)}")
    return [_artifacts.describe(ctx, "gguf", source=job.source, path=path) for path in found]
