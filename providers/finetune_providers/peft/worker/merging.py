# pyright: basic
"""Saving the trained weights: the adapter in a form every engine reads, and the merged model where merging is exact."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file

from . import quantize

REWRITING = ("pissa", "olora")
"""Initialisations that change the base weights: their adapters fit no other base until they are converted."""


def keep_initial(job: Any, model: Any) -> None:
    """Remember a rewriting adapter as it was before training; the conversion at the end is a difference to it."""
    adapter = job.request["adapter"]
    if adapter.get("init") not in REWRITING or job.ctx.rank != 0:
        return
    shutil.rmtree(_initial(job), ignore_errors=True)
    with _plain(model):
        model.save_pretrained(_initial(job), save_embedding_layers=False)


def write(job: Any, model: Any, root: Path) -> list[str]:
    """Write `model`, or `adapter` and (where it is exact) `merged`, under `root`; answers what was written."""
    if job.request["adapter"]["kind"] == "full":
        model.save_pretrained(root / "model")
        return ["model"]
    for config in model.peft_config.values():
        config.base_model_name_or_path = job.source  # a path that still leads there later
    _write_adapter(job, model, root / "adapter")
    if (reason := _why_not_merged(job)) is not None:
        job.ctx.event(f"no merged model: {reason}")
        return ["adapter"]
    if quantize.wanted(job) != "none":
        job.ctx.event(
            "merging into the base model in full precision: its answers may differ slightly from the quantised"
        )
        model = PeftModel.from_pretrained(job.method.load(job, quantized=False), root / "adapter")
    model.merge_and_unload().save_pretrained(root / "merged")
    return ["adapter", "merged"]


def _why_not_merged(job: Any) -> str | None:
    if not job.request["options"]["merge"]:
        return "as asked"
    if job.request["adapter"]["kind"] == "prompt_tuning":
        return "a tuned prompt is no change of weights; load the adapter beside the base model"
    return None


def _write_adapter(job: Any, model: Any, folder: Path) -> None:
    if job.request["adapter"].get("init") not in REWRITING:
        model.save_pretrained(folder, save_embedding_layers=False)
        return
    job.ctx.event(
        f"the {job.request['adapter']['init']} adapter is saved as plain LoRA of twice the rank: it fits the base"
    )
    with _plain(model):
        model.save_pretrained(
            folder, save_embedding_layers=False, path_initial_model_for_weight_conversion=str(_initial(job))
        )
    _add_what_the_conversion_drops(model, folder / SAFETENSORS_WEIGHTS_NAME)


def _add_what_the_conversion_drops(model: Any, file: Path) -> None:
    """peft 0.21 converts the low-rank matrices and forgets the layers that were trained in full beside them."""
    whole = get_peft_model_state_dict(model, save_embedding_layers=False)
    converted = load_file(file)
    missing = {name: value.contiguous() for name, value in whole.items() if name not in converted}
    if missing:
        save_file({**converted, **missing}, file, metadata={"format": "pt"})


def _initial(job: Any) -> Path:
    return job.cache / "initial-adapter"


@contextmanager
def _plain(model: Any) -> Iterator[None]:
    """While open, the adapter's configuration says it starts as plain LoRA; the conversion asks for that."""
    config = model.peft_config["default"]
    initial = config.init_lora_weights
    config.init_lora_weights = True
    try:
        yield
    finally:
        config.init_lora_weights = initial
