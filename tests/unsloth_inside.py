# pyright: basic
"""Runs in Unsloth's environment, spoofed to look like a GPU's: do our calls fit the signatures of the GPU classes?

`python unsloth_inside.py WORKER_FOLDER`; prints JSON: {"what is called": null or the complaint}.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ADAPTER = {
    "kind": "lora", "quantize": "4bit", "r": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": "all-linear",
    "modules_to_save": [], "rslora": True, "init": "default", "dora": False,
}  # fmt: skip
OPTIONS = {"trust_remote_code": False, "revision": None, "local_files_only": True, "attn_implementation": "sdpa"}


def main(folder: Path) -> None:
    """Import Unsloth as the worker does, bind, tell."""
    unsloth = importlib.import_module("unsloth")
    _load("finetune_worker", folder)
    loading, scoring = (importlib.import_module(f"finetune_worker.{name}") for name in ("loading", "scoring"))
    ctx = SimpleNamespace(request={"options": OPTIONS})
    job = SimpleNamespace(
        ctx=ctx,
        request={"adapter": ADAPTER, "options": OPTIONS, "seed": 0},
        max_length=512,
        gradient_checkpointing=True,
        choices=SimpleNamespace(weights=None, device="cuda"),
    )
    base = importlib.import_module("unsloth.models.vision").FastBaseModel
    load, lora = loading.arguments(job), loading.lora(job)
    head = scoring.arguments(job, ["a", "b"], quantized=True)
    sentences = importlib.import_module("finetune_worker.embedding").arguments(job)
    told = {
        "FastLanguageModel.from_pretrained": _fits(unsloth.FastLanguageModel.from_pretrained, "model", **load),
        "FastLanguageModel.get_peft_model": _fits(unsloth.FastLanguageModel.get_peft_model, None, **lora),
        "FastModel.from_pretrained": _fits(unsloth.FastModel.from_pretrained, "model", **load),
        "FastVisionModel.from_pretrained": _fits(unsloth.FastVisionModel.from_pretrained, "model", **load),
        "FastVisionModel.get_peft_model": _fits(base.get_peft_model, None, **lora),
        "FastModel.from_pretrained for labels": _fits(unsloth.FastModel.from_pretrained, "model", **head),
        "FastModel.from_pretrained for Whisper": _fits(
            unsloth.FastModel.from_pretrained,
            "model",
            **load,
            auto_model=None,
            whisper_language="English",
            whisper_task="transcribe",
        ),
        "FastModel.get_peft_model for Whisper": _fits(base.get_peft_model, None, **lora, task_type=None),
        "FastSentenceTransformer.from_pretrained": _fits(
            unsloth.FastSentenceTransformer.from_pretrained, "model", **sentences
        ),
        "FastSentenceTransformer.get_peft_model": _fits(unsloth.FastSentenceTransformer.get_peft_model, None, **lora),
        "UnslothVisionDataCollator": _fits(
            importlib.import_module("unsloth_zoo.vision_utils").UnslothVisionDataCollator, None, None, max_seq_length=1
        ),
        "FastModel.get_peft_model for labels": _fits(base.get_peft_model, None, **lora, task_type="SEQ_CLS"),
    }
    print(json.dumps({"device": unsloth.DEVICE_TYPE, "calls": told}))  # noqa: T201


def _fits(called: Callable[..., Any], *args: Any, **kwargs: Any) -> str | None:
    """The complaint; None when each argument is one of those the function names."""
    signature = inspect.signature(inspect.unwrap(called))
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    rest = [name for name, one in signature.parameters.items() if one.kind is one.VAR_KEYWORD]
    unknown = sorted(set(bound.arguments[rest[0]]) - PASSED_ON) if rest and rest[0] in bound.arguments else []
    return f"not among its parameters: {', '.join(unknown)}" if unknown else None


PASSED_ON = {"attn_implementation", "local_files_only", "num_labels", "id2label", "label2id"}
"""Not named in the signatures: read from `**kwargs` by the loader, or handed to transformers."""


def _load(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
