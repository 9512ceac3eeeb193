# pyright: basic
"""What was asked for against what runs: Unsloth changes settings it cannot honour, and prints a line at best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def compare(job: Any, model: Any, trainer: Any) -> dict[str, dict[str, Any]]:
    """Every setting that became another one: {name: {"requested": ..., "effective": ...}}; a warning each."""
    found: dict[str, dict[str, Any]] = {}
    for name, wanted, got in _looked_up(job, model, trainer):
        if wanted != got:
            found[name] = {"requested": wanted, "effective": got}
            job.ctx.event(f"{name}: {got} instead of {wanted}: Unsloth cannot do it here", level="warning")
    return found


def _looked_up(job: Any, model: Any, trainer: Any) -> Iterator[tuple[str, Any, Any]]:
    """(setting, as requested, as it is)."""
    training, adapter, args = job.request["training"], job.request["adapter"], trainer.args
    if adapter["kind"] == "lora":
        yield "adapter.quantize", adapter["quantize"], _quantised(model)
        yield from _lora(adapter, model)
    yield "hyperparameters.optimizer", job.optimizer, _text(args.optim)
    yield "hyperparameters.packing", job.packing, bool(getattr(args, "packing", False))
    yield "hyperparameters.precision", job.choices.precision, _precision(args)
    yield "hyperparameters.gradient_checkpointing", job.gradient_checkpointing, _checkpointing(model)
    for name, ours in (("batch_size", "per_device_train_batch_size"), ("learning_rate", "learning_rate")):
        if job.request["method"]["kind"] != "rft" or name != "batch_size":
            yield f"hyperparameters.{name}", training[name], getattr(args, ours)
    yield "hyperparameters.scheduler", training["scheduler"], _text(args.lr_scheduler_type)
    length = getattr(args, "max_length", job.max_length)
    yield "hyperparameters.max_seq_length", job.max_length, length


def _lora(adapter: dict[str, Any], model: Any) -> Iterator[tuple[str, Any, Any]]:
    config = next(iter(model.peft_config.values()))
    yield "adapter.r", adapter["r"], config.r
    yield "adapter.alpha", float(adapter["alpha"]), float(config.lora_alpha)
    yield "adapter.dropout", adapter["dropout"], config.lora_dropout
    yield "adapter.dora", adapter["dora"], bool(config.use_dora)
    yield "adapter.rslora", adapter["rslora"], bool(config.use_rslora)


def _quantised(model: Any) -> str:
    kinds = {type(module).__name__ for module in model.modules()}
    return "4bit" if "Linear4bit" in kinds else "8bit" if "Linear8bitLt" in kinds else "none"


def _precision(args: Any) -> str:
    return "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"


def _checkpointing(model: Any) -> bool:
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))
