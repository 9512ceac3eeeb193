"""What the unsloth provider can do, as data: everything not listed is refused by name."""

from __future__ import annotations

from finetune_providers.hub import rentable
from finetune_sdk.deploy import served_here
from finetune_sdk.provider import YES, Capabilities, Claim, Support
from finetune_sdk.worker import provider as worker

_HOSTED = Claim(Support.UNSUPPORTED, "a setting of hosted reinforcement fine-tuning")
_TRACKER = Claim(Support.PARTIAL, "needs the tracker's package in the worker's interpreter")
_PEFT = "Unsloth trains LoRA adapters and whole models; use provider: peft"

_HYPERPARAMETERS = (
    "epochs", "max_steps", "batch_size", "gradient_accumulation", "learning_rate", "learning_rate_multiplier",
    "scheduler", "warmup_ratio", "weight_decay", "max_grad_norm", "max_seq_length", "precision",
    "gradient_checkpointing", "eval_steps", "save_steps", "log_steps", "early_stopping",
)  # fmt: skip
_LORA = ("r", "alpha", "dropout", "target_modules", "modules_to_save", "rslora")
_RFT = ("grader", "samples_per_prompt", "max_completion_tokens", "temperature", "beta")

CAPABILITIES = Capabilities(
    claims={
        "method.sft": YES,
        "method.sft.train_on": YES,
        "method.pretraining": YES,
        "method.dpo": YES,
        "method.kto": YES,
        "method.orpo": YES,
        **{f"method.dpo.{name}": YES for name in ("beta", "loss", "label_smoothing")},
        **{f"method.kto.{name}": YES for name in ("beta", "desirable_weight", "undesirable_weight")},
        "method.orpo.beta": YES,
        "method.reward": Claim(Support.NOT_IMPLEMENTED, "use provider: peft"),
        "method.classification": Claim(Support.PARTIAL, "on a GPU, by FastModel; never run on one here"),
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
        "adapter.lora.dora": Claim(Support.UNSUPPORTED, _PEFT),
        "adapter.lora.init": Claim(Support.PARTIAL, "default and gaussian; pissa and olora need provider: peft"),
        "adapter.lora.quantize": Claim(
            Support.PARTIAL,
            "made for GPUs, never run on one here; on a CPU 4 bits are refused, 8 bits become 16 and that is reported",
        ),
        "adapter.ia3": Claim(Support.UNSUPPORTED, _PEFT),
        "adapter.prompt_tuning": Claim(Support.UNSUPPORTED, _PEFT),
        **{f"hyperparameters.{name}": YES for name in _HYPERPARAMETERS},
        "hyperparameters.optimizer": Claim(Support.PARTIAL, "8-bit and paged ones on a GPU; a change is reported"),
        "hyperparameters.packing": Claim(Support.PARTIAL, "on a GPU; on a CPU Unsloth turns it off, which is reported"),
        "hyperparameters.precision=fp16": Claim(Support.PARTIAL, "on a GPU only"),
        "compute.environment": YES,
        "compute.threads": YES,
        "compute.device": YES,
        "compute.device=cuda": Claim(Support.PARTIAL, "where the worker's torch sees a GPU"),
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
        "On this machine it runs in an environment of its own and costs nothing.",
        "Parts of Unsloth are AGPL-3.0: see the provider's README.",
        "Settings that Unsloth changes (8-bit, packing, optimizer) are compared, reported and counted.",
        "Pictures for models that see and recordings for Whisper (on a GPU), sounds for Orpheus (codec: snac).",
        "Pairs and triplets of texts for models of sentence embeddings.",
    ),
)
