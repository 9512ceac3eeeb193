# pyright: basic
"""What AutoTrain left in its project folder, moved to where artifacts are expected and described."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .context import Context

_WEIGHTS = {"adapter": "adapter_model.safetensors", "model": "model.safetensors"}
_SCAFFOLD = ("autotrain-data", "runs", "checkpoint-*")
_PACKAGES = (
    "autotrain-advanced", "torch", "transformers", "peft", "trl", "accelerate", "datasets", "sentence-transformers"
)  # fmt: skip


def kind_of(project: Path) -> str | None:
    """ "adapter" or "model", by the weights that lie there; None = AutoTrain saved nothing."""
    for kind, name in _WEIGHTS.items():
        if (project / name).exists() or list(project.glob(name.replace(".safetensors", "-*.safetensors"))):
            return kind
    return None


def collect(ctx: Context, project: Path, *, base: str, template: str | None) -> list[dict[str, Any]]:
    """Move the trained model out of the project folder. Raises `ctx.Failed` when there is none."""
    kind = kind_of(project)
    if kind is None:
        raise ctx.Failed("AutoTrain ended without an error and without weights; worker.log has its words")
    if kind == "model" and ctx.request["parameters"].get("merge_adapter"):
        kind = "merged"
    if kind == "adapter" and ctx.request["parameters"].get("merge_adapter"):
        ctx.event("AutoTrain could not merge the adapter; worker.log has its words", level="warning")
    runs = project / "runs"
    if runs.exists():
        shutil.rmtree(ctx.dir / "tensorboard", ignore_errors=True)
        runs.rename(ctx.dir / "tensorboard")
    for pattern in _SCAFFOLD:
        for folder in project.glob(pattern):
            shutil.rmtree(folder)
    target = ctx.dir / "artifacts" / kind
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    project.rename(target)
    return [describe(ctx, kind, base=base, template=template)]


def describe(ctx: Context, kind: str, *, base: str | None, path: str | None = None, template: str | None = None) -> Any:
    """One entry of result.json's artifacts. A folder's hash is that of its sorted `<sha256>  <path>` lines."""
    relative = path or f"artifacts/{kind}"
    return {
        "kind": kind,
        "path": relative,
        "sha256": digest(ctx.dir / relative),
        "base_model": base,
        "chat_template_sha256": hashlib.sha256(template.encode()).hexdigest() if template else None,
    }


def digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's sorted `<sha256>  <relative path>` lines."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(item for item in path.rglob("*") if item.is_file())
    lines = "".join(f"{digest(item)}  {item.relative_to(path).as_posix()}\n" for item in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def receipt(ctx: Context, *, parameters: dict[str, Any], metrics: dict[str, float], usage: dict[str, Any]) -> Any:
    """artifacts/receipt.json: what a run needs to be repeated and compared."""
    request = ctx.request
    body = {
        "job_id": ctx.job_id,
        "finished_at": datetime.now(UTC).isoformat(),
        "spec_sha256": request["spec_sha256"],
        "request": request,
        "parameters": parameters,
        "data": {path.name: digest(path) for path in sorted((ctx.dir / "data").glob("*.jsonl"))},
        "base_model": request["model"],
        "seed": request["seed"],
        "machine": {"python": platform.python_version(), "platform": platform.platform()},
        "sdk_version": request["sdk_version"],
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "metrics": metrics,
        "usage": usage,
    }
    final = ctx.dir / "artifacts" / "receipt.json"
    final.parent.mkdir(exist_ok=True)
    part = final.with_suffix(".part")
    part.write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(final)
    return describe(ctx, "receipt", base=None, path="artifacts/receipt.json")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
