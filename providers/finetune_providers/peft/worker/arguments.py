# pyright: basic
"""The request's training section as transformers' TrainingArguments understand it; every trainer starts from these."""

from __future__ import annotations

import math
from typing import Any

from transformers.training_args import OptimizerNames

from .choices import Choices
from .context import Context


def steps_per_epoch(ctx: Context, samples: int) -> int:
    """Optimizer steps in one pass over the samples, all processes together."""
    training = ctx.request["training"]
    batches = math.ceil(samples / (training["batch_size"] * ctx.world_size))
    return max(1, math.ceil(batches / training["gradient_accumulation"]))


def total_steps(ctx: Context, samples: int) -> int:
    """Optimizer steps of the whole run."""
    training = ctx.request["training"]
    return training["max_steps"] or math.ceil(training["epochs"] * steps_per_epoch(ctx, samples))


def common(ctx: Context, choices: Choices, *, samples: int, validation: bool) -> dict[str, Any]:
    """Keyword arguments for TrainingArguments and its TRL children."""
    training = ctx.request["training"]
    total, epoch = total_steps(ctx, samples), steps_per_epoch(ctx, samples)
    evaluate = _every(training["eval_steps"], total, epoch)
    save = _every(training["save_steps"], total, epoch)
    if training["early_stopping"]:
        save = _aligned(ctx, save, evaluate)
    return {
        "output_dir": str(ctx.dir / "checkpoints"),
        "per_device_train_batch_size": training["batch_size"],
        "per_device_eval_batch_size": training["batch_size"],
        "gradient_accumulation_steps": training["gradient_accumulation"],
        "num_train_epochs": training["epochs"],
        "max_steps": training["max_steps"] or -1,
        "learning_rate": training["learning_rate"],
        "lr_scheduler_type": training["scheduler"],
        "warmup_steps": training["warmup_ratio"],
        "weight_decay": training["weight_decay"],
        "max_grad_norm": training["max_grad_norm"],
        "optim": _optimizer(ctx, training["optimizer"]),
        "bf16": choices.precision == "bf16",
        "fp16": choices.precision == "fp16",
        "use_cpu": choices.device == "cpu",
        "logging_steps": _log_steps(training["log_steps"], total),
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": save,
        "eval_strategy": "steps" if validation else "no",
        "eval_steps": evaluate if validation else None,
        "load_best_model_at_end": bool(training["early_stopping"]),
        "metric_for_best_model": "eval_loss" if training["early_stopping"] else None,
        "greater_is_better": False if training["early_stopping"] else None,
        "restore_callback_states_from_checkpoint": bool(training["early_stopping"]),
        "seed": ctx.request["seed"],
        "data_seed": ctx.request["seed"],
        "report_to": ["tensorboard", *(name for name in ctx.request["report_to"] if name != "tensorboard")],
        "run_name": ctx.request["suffix"] or ctx.job_id,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": choices.device == "cuda",
        "ddp_find_unused_parameters": False,
    }


def _every(asked: Any, total: int, epoch: int) -> int:
    if asked == "epoch":
        return epoch
    return max(1, math.ceil(total / 4)) if asked == "auto" else asked


def _log_steps(asked: Any, total: int) -> int:
    return max(1, total // 100) if asked == "auto" else asked


def _aligned(ctx: Context, save: int, evaluate: int) -> int:
    aligned = max(1, round(save / evaluate)) * evaluate
    if aligned != save:
        ctx.event(f"checkpoints every {aligned} steps instead of {save}: the best one must coincide with a validation")
    return aligned


def _optimizer(ctx: Context, name: str) -> str:
    known = [item.value for item in OptimizerNames]
    if name == "auto":
        return "adamw_torch_fused"
    if name not in known:
        raise ctx.Failed(
            f"hyperparameters.optimizer: {name!r} is not known to transformers; it has: {', '.join(known)}"
        )
    return name
