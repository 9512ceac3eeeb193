# pyright: basic
"""Classifiers, such as BERT's: the shared job with Unsloth's loader and adapter in the places of peft's.

FastModel gives a model the head that `num_labels` asks for. It works on a GPU only: Unsloth's CPU backend loads
language models and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import set_seed

from . import loading, vendor
from .local import part

_adapters, _heads, _job = part("adapters"), part("heads"), part("job")
_attach = _adapters.attach


def run(ctx: Any) -> dict[str, Any]:
    """The whole job; the result without `status` when it succeeded."""
    if not vendor.on_gpu():
        raise ctx.Failed("Unsloth trains classifiers on a GPU only; use provider: peft")
    shared = _Shared()
    _heads.load, _adapters.attach = shared.load, shared.attach
    result: dict[str, Any] = _job.run(ctx)
    return result


class _Shared:
    """The two places; the second has to know the job that the first has seen."""

    def __init__(self) -> None:
        self._loaded_by: Any = None

    def load(self, job: Any, *, labels: Sequence[str], quantized: bool) -> Any:
        """The base model with a fresh head, drawn from the job's seed."""
        set_seed(job.request["seed"])
        self._loaded_by = job
        model = loading.load(job, vendor.unsloth().FastModel, arguments(job, labels, quantized=quantized))
        model.config.pad_token_id = job.tokenizer.pad_token_id  # the score is read at the last token before padding
        return model

    def attach(self, ctx: Any, model: Any, *, task: str, source: str) -> Any:
        """The model with Unsloth's LoRA; everything else, and the refusals, are peft's."""
        adapter = ctx.request["adapter"]
        if adapter["kind"] != "lora":
            return _attach(ctx, model, task=task, source=source)
        given = {**loading.lora(self._loaded_by), "task_type": task}
        tuned = loading.with_lora(ctx, vendor.unsloth().FastModel, model, given)
        count = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
        ctx.event(f"training {count:,} parameters (lora)", trainable_parameters=float(count))
        return tuned


def arguments(job: Any, labels: Sequence[str], *, quantized: bool) -> dict[str, Any]:
    """Those of a language model, and the head's."""
    names = dict(enumerate(labels))
    given = loading.arguments(job)
    return {
        **given,
        "load_in_4bit": given["load_in_4bit"] and quantized,
        "load_in_8bit": given["load_in_8bit"] and quantized,
        "num_labels": len(labels),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }
