"""What the peft provider can do, as data: everything not listed is refused by name."""

from __future__ import annotations

from finetune_sdk.provider import YES, Capabilities, Claim, Support

_LATER = Claim(Support.NOT_IMPLEMENTED, "not written yet")
_HOSTED = Claim(Support.UNSUPPORTED, "a setting of hosted reinforcement fine-tuning")
_TRACKER = Claim(Support.PARTIAL, "needs the tracker's package in the worker's interpreter")

_HYPERPARAMETERS = (
    "epochs", "max_steps", "batch_size", "gradient_accumulation", "learning_rate", "learning_rate_multiplier",
    "scheduler", "warmup_ratio", "weight_decay", "max_grad_norm", "optimizer", "max_seq_length", "packing", "precision",
    "gradient_checkpointing", "eval_steps", "save_steps", "log_steps", "early_stopping",
)  # fmt: skip
_LORA = ("r", "alpha", "dropout", "target_modules", "modules_to_save")
_FEATURES = ("find", "events", "checkpoints", "cancel", "pause", "resume", "artifacts", "evaluate")

CAPABILITIES = Capabilities(
    claims={
        "method.sft": YES,
        "method.sft.train_on": YES,
        "method.pretraining": YES,
        "method.dpo": _LATER,
        "method.kto": _LATER,
        "method.orpo": _LATER,
        "method.reward": _LATER,
        "method.classification": _LATER,
        "method.rft": _LATER,
        "method.rft.reasoning_effort": _HOSTED,
        "method.rft.compute_multiplier": _HOSTED,
        "method.rft.eval_interval": _HOSTED,
        "method.rft.eval_samples": _HOSTED,
        "adapter.full": YES,
        "adapter.lora": YES,
        **{f"adapter.lora.{name}": YES for name in _LORA},
        "adapter.lora.dora": _LATER,
        "adapter.lora.rslora": _LATER,
        "adapter.lora.init": _LATER,
        "adapter.lora.quantize": _LATER,
        "adapter.ia3": _LATER,
        "adapter.prompt_tuning": _LATER,
        **{f"hyperparameters.{name}": YES for name in _HYPERPARAMETERS},
        "hyperparameters.precision=fp16": Claim(Support.PARTIAL, "on a GPU only"),
        "compute.environment": YES,
        "compute.threads": YES,
        "compute.device": YES,
        "compute.device=cuda": Claim(Support.PARTIAL, "where the worker's torch sees a GPU"),
        "compute.processes": _LATER,
        "data.validation": YES,
        "data.test": YES,
        "report_to=tensorboard": YES,
        **{f"report_to={name}": _TRACKER for name in ("wandb", "mlflow", "trackio")},
        "seed": YES,
        "suffix": YES,
        "metadata": YES,
        "budget.max_hours": YES,
        **{f"feature.{name}": YES for name in _FEATURES},
        "feature.deploy": _LATER,
    },
    notes=(
        "Runs on this machine; costs nothing.",
        "TensorBoard logs are always written, to `tensorboard/` in the job's folder.",
        "Text only: image and audio parts are refused.",
    ),
)
