"""The description of an ONNX export: an ordinary job of the `onnx` provider over a finished adapter or model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec

QUESTIONS = Path(__file__).with_name("questions.jsonl")
"""Asked when nothing is known of the model's own data: a few general questions with their answers."""
_HELD_OUT = ("test", "validation", "train")
_READABLE = ("sft", "pretraining", "classification")
"""Methods whose rows can be asked; those of others hold no single right answer."""
_CLASSIFIER = "ForSequenceClassification"


def spec_for(
    source: str | Path,
    *,
    precision: str | Sequence[str] = "auto",
    device: str = "cpu",
    data: str | Path | None = None,
    base: str | None = None,
    options: Mapping[str, JsonValue] | None = None,
    environment: str = "auto",
    seed: int | None = None,
) -> JobSpec:
    """The job that exports `source`, the folder of an adapter or of a whole model. Reads a few file names and JSON.

    `data`: the rows on which the package is compared with PyTorch; None = what the job that made the folder held out,
    else a few general questions. `base`: the base model of an adapter; None = the one it names. `options`: more of
    `options.onnx`. Raises `SpecError` for a folder that holds neither, and for a classifier without rows.
    """
    folder = Path(source).expanduser().absolute()
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise SpecError(f"there is no adapter and no model in {folder}: neither adapter_config.json nor config.json")
    rows = None if data is None else Path(data).expanduser().absolute()
    rows = rows or (_held_out(folder) if _trained(folder) in _READABLE else None)
    method = _method(folder, adapter=adapter)
    if rows is None and method == "classification":
        raise SpecError(f"{folder} holds a classifier; give labelled rows to compare the package on (data=...)")
    wanted = precision if isinstance(precision, str) else list(precision)
    document: dict[str, Any] = {
        "provider": "onnx",
        "model": base or (_base(folder) if adapter else str(folder)),
        "data": {"train": str(rows or QUESTIONS)},
        "method": method,
        "compute": {"environment": environment},
        "seed": seed,
        "options": {"onnx": {"source": str(folder), "precision": wanted, "device": device, **(options or {})}},
    }
    return JobSpec.model_validate(document)


def _held_out(folder: Path) -> Path | None:
    """The rows of the job whose `artifacts/` this folder lies in."""
    job = folder.parent.parent
    if folder.parent.name != "artifacts" or not (job / "spec.json").is_file():
        return None
    return next((file for role in _HELD_OUT if (file := job / "data" / f"{role}.jsonl").is_file()), None)


def _method(folder: Path, *, adapter: bool) -> str:
    """How the rows are to be read: as the job that made the folder read them, else by the model's architecture."""
    if adapter:
        scored = _object(folder / "adapter_config.json").get("task_type") == "SEQ_CLS"
    else:
        scored = any(
            str(name).endswith(_CLASSIFIER) for name in _object(folder / "config.json").get("architectures", ())
        )
    if scored:
        return "classification"
    trained = _trained(folder)
    return trained if trained in _READABLE else "sft"


def _trained(folder: Path) -> str | None:
    """The method of the job whose `artifacts/` this folder lies in."""
    request: dict[str, Any] = _object(folder.parent.parent / "spec.json").get("request", {})
    found: str | None = (request.get("train") or request).get("method", {}).get("kind")
    return found


def _base(folder: Path) -> str:
    named = _object(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise SpecError(f"the adapter in {folder} names no base model; give it (base=...)")
    return named


def _object(file: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]
