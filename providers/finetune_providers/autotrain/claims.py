"""What the autotrain provider can do, as data: everything not listed is refused by name."""

from __future__ import annotations

from finetune_providers.hub import rentable
from finetune_sdk.deploy import served_here
from finetune_sdk.provider import YES, Capabilities, Claim, Support
from finetune_sdk.worker import provider as worker

_READ = "https://github.com/huggingface/autotrain-advanced/tree/v0.8.36"
_ON = "2026-11-21"


def _no(note: str) -> Claim:
    return Claim(Support.UNSUPPORTED, note, _READ, _ON)


def _partly(note: str) -> Claim:
    return Claim(Support.PARTIAL, note, _READ, _ON)


_HYPERPARAMETERS = (
    "max_steps", "batch_size", "gradient_accumulation", "learning_rate", "scheduler", "warmup_ratio", "weight_decay",
    "max_grad_norm", "optimizer", "max_seq_length", "precision", "log_steps", "epochs",
)  # fmt: skip

CAPABILITIES = Capabilities(
    claims={
        "method.sft": YES,
        "method.sft.train_on=all": YES,
        "method.sft.train_on": _no("AutoTrain masks nothing: the loss is on every token"),
        "method.pretraining": YES,
        "method.dpo": YES,
        "method.dpo.beta": YES,
        "method.dpo.loss": _no("AutoTrain has the sigmoid loss only"),
        "method.dpo.label_smoothing": _no("AutoTrain has no such parameter"),
        "method.orpo": YES,
        "method.orpo.beta": _no("AutoTrain does not hand it to its trainer"),
        "method.reward": YES,
        "method.reward.center_rewards": _no("AutoTrain has no such parameter"),
        "method.classification": YES,
        "method.classification.labels": YES,
        "method.kto": _no("AutoTrain has no KTO trainer"),
        "method.rft": _no("AutoTrain 0.8.36 has no reinforcement learning"),
        "adapter.full": YES,
        "adapter.lora": _partly("language models and seq2seq; elsewhere AutoTrain trains all weights"),
        "adapter.lora.r": YES,
        "adapter.lora.alpha": _partly("whole numbers"),
        "adapter.lora.dropout": YES,
        "adapter.lora.target_modules": YES,
        "adapter.lora.quantize": _partly("needs a GPU: bitsandbytes 0.45.0 has no CPU build"),
        "adapter.lora.modules_to_save": _no("AutoTrain has no such parameter"),
        "adapter.lora.dora": _no("AutoTrain has no such parameter"),
        "adapter.lora.rslora": _no("AutoTrain has no such parameter"),
        "adapter.lora.init": _no("AutoTrain has no such parameter"),
        **{f"hyperparameters.{name}": YES for name in _HYPERPARAMETERS},
        "hyperparameters.precision=fp16": _partly("on a GPU only"),
        "hyperparameters.learning_rate_multiplier": _no("AutoTrain takes absolute rates"),
        "hyperparameters.packing": _partly("SFT and generic training always pack, the others never do"),
        "hyperparameters.gradient_checkpointing": _partly("language models"),
        "hyperparameters.early_stopping": _partly("texts and sentence pairs, with validation rows"),
        "hyperparameters.eval_steps": _no("AutoTrain validates after each epoch, language models not at all"),
        "hyperparameters.save_steps": _no("AutoTrain saves the model at the end"),
        "compute.environment": YES,
        "compute.threads": YES,
        "compute.device": YES,
        "compute.device=cuda": _partly("where the worker's torch sees a GPU; not tried on one here"),
        **rentable.CLAIMS,
        "compute.processes": _no("several processes need its launcher, which hides failures"),
        "data.validation": YES,
        "data.test": YES,
        "report_to=tensorboard": YES,
        "seed": YES,
        "metadata": YES,
        "budget.max_hours": YES,
        **worker.CLAIMS,
        **served_here.CLAIMS,
        "feature.evaluate": YES,
        "feature.checkpoints": _no("AutoTrain keeps none for language models"),
        "feature.pause": _no("without checkpoints there is nothing to go on from"),
        "feature.resume": _no("without checkpoints there is nothing to go on from"),
    },
    notes=(
        "On this machine it runs in an environment of its own (Python 3.11, 2.2 GB) and costs nothing.",
        "More with `options.autotrain.task`: text-regression, token-classification, seq2seq.",
        "And st:pair, st:qa, st:triplet, st:pair_class, st:pair_score (sentence embeddings).",
        "Refused: tabular (its pins break), images and vision (the data layer reads texts), extractive-qa.",
    ),
)
