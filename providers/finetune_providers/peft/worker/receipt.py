# pyright: basic
"""receipt.json: hashes, versions, seeds and metrics with which a run can be repeated and compared."""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import artifacts
from .context import Context

_PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "datasets", "tokenizers", "safetensors", "numpy")


def write(
    ctx: Context,
    *,
    source: str,
    metrics: dict[str, float],
    usage: dict[str, Any],
    settings: dict[str, Any],
    evaluation: dict[str, Any] | None,
) -> Path:
    """Write the receipt into artifacts/, whole or not at all. `settings` and `evaluation` are those of `resolved`."""
    request = ctx.request
    body = {
        "job_id": ctx.job_id,
        "finished_at": datetime.now(UTC).isoformat(),
        "attempts": ctx.attempt,
        "spec_sha256": request["spec_sha256"],
        "request_sha256": hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest(),
        "request": request,
        "data": {path.name: artifacts.digest(path) for path in sorted((ctx.dir / "data").glob("*.jsonl"))},
        "base_model": {"name": request["model"], "revision": request["options"]["revision"], "sha256": _base(source)},
        "seed": request["seed"],
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            **{name: settings[name] for name in ("device", "precision", "threads", "processes")},
        },
        "settings": settings,
        "sdk_version": request.get("sdk_version"),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "metrics": metrics,
        "evaluation": evaluation,
        "usage": usage,
    }
    final = ctx.dir / "artifacts" / "receipt.json"
    final.parent.mkdir(exist_ok=True)
    part = final.with_suffix(".part")
    part.write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    return part.replace(final)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _base(source: str) -> str | None:
    """Hash of a local base model's folder; a hub model is named by its revision."""
    return artifacts.digest(Path(source)) if Path(source).is_dir() else None
