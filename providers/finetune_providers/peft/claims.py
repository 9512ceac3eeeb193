"""What the peft provider can do, as data: everything not listed is refused by name."""

from __future__ import annotations

from finetune_providers.hub import rentable
from finetune_sdk.deploy import served_here
from finetune_sdk.provider import YES, Capabilities, Claim, Support
from finetune_sdk.worker import provider as worker

_HOSTED = Claim(Support.UNSUPPORTED, "a setting of hosted reinforcement fine-tuning")
_TRACKER = Claim(Support.PARTIAL, "needs the tracker's package in the worker's interpreter")

_HYPERPARAMETERS = (
    "epochs", "max_steps", "batch_size", "gradient_accumulation", "learning_rate", "learning_rate_multiplier",
    "scheduler", "warmup_ratio", "weight_decay", "max_grad_norm", "optimizer", "max_seq_length", "packing", "precision",
    "gradient_checkpointing", "eval_steps", "save_steps", "log_steps", "early_stopping",
)  # fmt: skip
_LORA = ("r", "alpha", "dropout", "target_modules", "modules_to_save")
_RFT = ("grader", "samples_per_prompt", "max_completion_tokens", "temperature", "beta")

CAPABILITIES = Capabilities(
    claims={
        "method.sft": YES,
        "method.sft.train_on": YES,
        "method.pretraining": YES,
        "method.dpo": YES,
        "method.kto": YES,
        "method.orpo": YES,
        "method.reward": YES,
        **{f"method.dpo.{name}": YES for name in ("beta", "loss", "label_smoothing")},
        **{f"method.kto.{name}": YES for name in ("beta", "desirable_weight", "undesirable_weight")},
        "method.orpo.beta": YES,
        "method.reward.center_rewards": YES,
        "method.classification": Claim(Support.PARTIAL, "one label per text; no regression, no several labels at once"),
        "method.classification.labels": YES,
        "method.rft": Claim(Support.PARTIAL, "GRPO; graders string_check, text_similarity, python, multi"),
        **{f"method.rft.{name}": YES for name in _RFT},
        "method.rft.reasoning_effort": _HOSTED,
        "method.rft.compute_multiplier": _HOSTED,
        "method.rft.eval_interval": _HOSTED,
        "method.rft.eval_samples": _HOSTED,
        "adapter.full": YES,
        "adapter.lora": YES,
        **{f"adapter.lora.{name}": YES for name in _LORA},
        "adapter.lora.dora": YES,
        "adapter.lora.rslora": YES,
        "adapter.lora.init": YES,
        "adapter.lora.quantize": Claim(
            Support.PARTIAL,
            "needs bitsandbytes, which runs on CUDA and x86-64 CPUs; on a CPU it saves memory, not time",
        ),
        "adapter.ia3": YES,
        **{f"adapter.ia3.{name}": YES for name in ("target_modules", "feedforward_modules")},
        "adapter.prompt_tuning": Claim(
            Support.PARTIAL, "not with reward and classification; never merged into the base model"
        ),
        **{f"adapter.prompt_tuning.{name}": YES for name in ("virtual_tokens", "init_text")},
        **{f"hyperparameters.{name}": YES for name in _HYPERPARAMETERS},
        "hyperparameters.precision=fp16": Claim(Support.PARTIAL, "on a GPU only"),
        "compute.environment": YES,
        "compute.threads": YES,
        "compute.device": YES,
        "compute.device=cuda": Claim(Support.PARTIAL, "where the worker's torch sees a GPU"),
        "compute.processes": YES,
        **rentable.CLAIMS,
        "data.validation": YES,
        "data.test": YES,
        "report_to=tensorboard": YES,
        **{f"report_to={name}": _TRACKER for name in ("wandb", "mlflow", "trackio")},
        "seed": YES,
        "suffix": YES,
        "metadata": YES,
        "budget.max_hours": YES,
        **worker.CLAIMS,
        **served_here.CLAIMS,
        "feature.evaluate": YES,
    },
    notes=(
        "On this machine it costs nothing.",
        "TensorBoard logs are always written, to `tensorboard/` in the job's folder.",
        "Text only: image and audio parts are refused.",
    ),
)
