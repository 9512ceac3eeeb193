"""AutoTrain's parameters by class: names, types and defaults, as 0.8.36 has them (`parameters.json`)."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TypedDict

from pydantic import JsonValue


class Parameter(TypedDict):
    """One field of a parameter class."""

    type: str
    default: JsonValue


MANAGED: frozenset[str] = frozenset(
    ("model", "project_name", "data_path", "train_split", "valid_split", "push_to_hub", "username", "token", "trainer")
)
"""Set by the provider itself, or no business of a job's."""
ELSEWHERE = {
    "lr": "hyperparameters.learning_rate",
    "epochs": "hyperparameters.epochs",
    "batch_size": "hyperparameters.batch_size",
    "gradient_accumulation": "hyperparameters.gradient_accumulation",
    "warmup_ratio": "hyperparameters.warmup_ratio",
    "weight_decay": "hyperparameters.weight_decay",
    "max_grad_norm": "hyperparameters.max_grad_norm",
    "optimizer": "hyperparameters.optimizer",
    "block_size": "hyperparameters.max_seq_length",
    "max_seq_length": "hyperparameters.max_seq_length",
    "mixed_precision": "hyperparameters.precision",
    "disable_gradient_checkpointing": "hyperparameters.gradient_checkpointing",
    "logging_steps": "hyperparameters.log_steps",
    "log": "report_to",
    "seed": "seed",
    "peft": "adapter",
    "quantization": "adapter.quantize",
    "target_modules": "adapter.target_modules",
    "lora_r": "adapter.r",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "dpo_beta": "method.beta",
    "unsloth": "provider: unsloth",
    "distributed_backend": "compute",
}
"""Parameters that a common field of the job description says; there is one way to say a thing."""


@cache
def fields(kind: str) -> dict[str, Parameter]:
    """The fields of a parameter class."""
    found: dict[str, dict[str, Parameter]] = json.loads(
        (Path(__file__).parent / "parameters.json").read_text(encoding="utf-8")
    )
    return found[kind]


def free(kind: str) -> list[str]:
    """The names that `options.autotrain` takes for this class."""
    return [
        name for name in fields(kind) if name not in MANAGED and name not in ELSEWHERE and not name.endswith("_column")
    ]


_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


def fits(value: JsonValue, wanted: str) -> bool:
    """Whether a value is of a field's type, as strictly as YAML can say it."""
    if wanted.startswith("Optional["):
        return value is None or fits(value, wanted[len("Optional[") : -1])
    if isinstance(value, bool):
        return wanted == "bool"
    return isinstance(value, _PLAIN.get(wanted, (object,)))
