# pyright: basic
"""What the job leaves behind: adapter, merged model, tokenizer with its chat template, model card; safetensors only."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from . import card, checkpoints, disk, merging
from .context import Context


def save(job: Any, model: Any, *, metrics: dict[str, float], settled: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the artifacts aside and swap them in; returns them as result.json lists them."""
    ctx, tokenizer, source = job.ctx, job.tokenizer, job.source
    root, part = ctx.dir / "artifacts", ctx.dir / "artifacts.part"
    shutil.rmtree(part, ignore_errors=True)
    text = card.text(ctx, metrics=metrics, settled=settled)
    with disk.writing(ctx, "the trained model", ctx.dir, part=part, kept=checkpoints.kept(ctx.dir / "checkpoints")):
        part.mkdir()
        kinds = merging.write(job, model, part)
        for folder in [*(part / kind for kind in kinds), part / "tokenizer"]:
            tokenizer.save_pretrained(folder)
            (folder / "README.md").write_text(text, encoding="utf-8")
    root.mkdir(exist_ok=True)
    for kind in (*kinds, "tokenizer"):
        shutil.rmtree(root / kind, ignore_errors=True)
        (part / kind).rename(root / kind)
    part.rmdir()
    return [describe(ctx, kind, source=source, tokenizer=tokenizer) for kind in (*kinds, "tokenizer")]


def describe(ctx: Context, kind: str, *, source: str, tokenizer: Any = None, path: str | None = None) -> dict[str, Any]:
    """One entry of result.json's artifacts. A folder's hash is that of its sorted `<sha256>  <path>` lines."""
    relative = path or f"artifacts/{kind}"
    template = getattr(tokenizer, "chat_template", None)
    return {
        "kind": kind,
        "path": relative,
        "sha256": digest(ctx.dir / relative),
        "base_model": source if kind in ("adapter", "merged", "model") else None,
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None,
    }


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted `<sha256>  <relative path>` lines."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(item for item in path.rglob("*") if item.is_file())
    lines = "".join(f"{digest(item)}  {item.relative_to(path).as_posix()}\n" for item in files)
    return hashlib.sha256(lines.encode()).hexdigest()
