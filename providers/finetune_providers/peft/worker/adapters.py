# pyright: basic
"""Which weights are trained: the adapter of the request put on the base model."""

from __future__ import annotations

from typing import Any

import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig, PromptTuningInit, get_peft_model

from . import quantize
from .context import Context


def attach(ctx: Context, model: Any, *, task: str, source: str) -> Any:
    """The model with its adapter; fails when nothing would be trained."""
    adapter = ctx.request["adapter"]
    if adapter["kind"] == "full":
        trained = model
        trained.requires_grad_(requires_grad=True)
    else:
        trained = _with_config(ctx, quantize.prepare(model), _CONFIGS[adapter["kind"]](adapter, task, source))
    count = sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in trained.parameters())
    if count == 0:
        raise ctx.Failed("the adapter leaves no trainable parameters; check adapter.target_modules")
    ctx.event(f"training {count:,} of {total:,} parameters ({adapter['kind']})", trainable_parameters=float(count))
    return trained


def _with_config(ctx: Context, model: Any, config: Any) -> Any:
    try:
        return get_peft_model(model, config)
    except ValueError as exc:
        targets = ctx.request["adapter"].get("target_modules", "auto")
        reason = " ".join(str(exc).split())[:400]
        raise ctx.Failed(f"the adapter does not fit the model (target_modules: {targets}): {reason}") from exc


def _lora(adapter: dict[str, Any], task: str, _source: str) -> LoraConfig:
    return LoraConfig(
        task_type=task,
        r=adapter["r"],
        lora_alpha=adapter["alpha"],
        lora_dropout=adapter["dropout"],
        target_modules=_targets(adapter["target_modules"]),
        modules_to_save=list(adapter["modules_to_save"]) or None,
        use_dora=adapter["dora"],
        use_rslora=adapter["rslora"],
        init_lora_weights=True if adapter["init"] == "default" else adapter["init"],
    )


def _targets(targets: Any) -> Any:
    return targets if isinstance(targets, str) else list(targets)


def _ia3(adapter: dict[str, Any], task: str, _source: str) -> IA3Config:
    """ "auto" is peft's own table by architecture; it refuses one it does not know."""
    given: dict[str, Any] = {
        name: list(adapter[name]) for name in ("target_modules", "feedforward_modules") if adapter[name] != "auto"
    }
    return IA3Config(task_type=task, modules_to_save=list(adapter["modules_to_save"]) or None, **given)


def _prompt_tuning(adapter: dict[str, Any], task: str, source: str) -> PromptTuningConfig:
    text = adapter["init_text"]
    start: dict[str, Any] = {} if text is None else {"prompt_tuning_init_text": text, "tokenizer_name_or_path": source}
    init = PromptTuningInit.RANDOM if text is None else PromptTuningInit.TEXT
    count = adapter["virtual_tokens"]
    return PromptTuningConfig(task_type=task, num_virtual_tokens=count, prompt_tuning_init=init, **start)


_CONFIGS = {"lora": _lora, "ia3": _ia3, "prompt_tuning": _prompt_tuning}


def finite(model: Any) -> bool:
    """True when every trained weight is a number."""
    return all(torch.isfinite(p).all().item() for p in model.parameters() if p.requires_grad)
