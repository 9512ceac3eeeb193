"""`JobSpec` -> the worker's request: pure translation. Every "auto" is settled here, or left to the worker.

What depends on the machine (device, precision, threads, gradient checkpointing) stays "auto" in the request: the worker
settles it where it runs and says so in its first events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal, TypeVar

import msgspec
from pydantic import JsonValue

from finetune_providers.peft import methods
from finetune_providers.peft.models import TINY
from finetune_providers.peft.options import PeftOptions
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import IA3, Adapter, Full, JobSpec, LoRA, PromptTuning
from finetune_sdk.types import DataFile

T = TypeVar("T")
EPOCHS = 3.0
BATCH_SIZE = 8
MAX_SEQ_LENGTH = 2048
WARMUP_RATIO = 0.03
RANK = 16
LEARNING_RATES: Mapping[tuple[bool, str], float] = {  # (builtin/tiny, trained in full) -> absolute rate
    (False, "lora"): 2e-4,
    (False, "full"): 2e-5,
    (True, "lora"): 3e-3,
    (True, "full"): 1e-3,
}
TINY_SAVED: tuple[str, ...] = ("embed_tokens", "lm_head")
"""Random weights hold no words to adapt: embeddings and head must be learned beside the adapter."""


@dataclass
class Notes:
    """Collects the choices made for "auto"."""

    lines: list[str] = field(default_factory=list[str])

    def chosen(self, name: str, given: T | Literal["auto"], value: T, why: str) -> T:
        """`given`, unless it is "auto": then `value`, noted with its reason."""
        if given != "auto":
            return given
        self.lines.append(f"{name}: {value} ({why})")
        return value


def request(
    spec: JobSpec, model: str, options: PeftOptions, files: Sequence[DataFile]
) -> tuple[dict[str, JsonValue], tuple[str, ...]]:
    """The request that `submit` writes for the worker, and the notes about what was chosen."""
    notes = Notes()
    _agree(spec)
    methods.agree(spec)
    adapter = _adapter(spec, model, notes)
    made: dict[str, JsonValue] = {
        "model": model,
        "method": methods.settle(spec.method, notes),
        "adapter": adapter,
        "training": _training(spec, model, str(adapter["kind"]), notes),
        "compute": spec.compute.model_dump(mode="json"),
        "evaluation": None if spec.evaluation is None else spec.evaluation.model_dump(mode="json"),
        "report_to": list(spec.report_to),
        "seed": _seed(spec, notes),
        "suffix": spec.suffix,
        "metadata": dict(spec.metadata),
        "max_hours": spec.budget.max_hours,
        "options": options.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "data_files": [_file(file) for file in files],
        "spec_sha256": spec.sha256,
        "sdk_version": version("finetune-sdk"),
    }
    return made, tuple(notes.lines)


def _agree(spec: JobSpec) -> None:
    """Settings that need one another."""
    knobs = spec.hyperparameters
    if spec.data.validation is None:
        for name, value in (("early_stopping", knobs.early_stopping), ("eval_steps", knobs.eval_steps)):
            if value not in (None, "auto"):
                raise SpecError(f"hyperparameters.{name} needs validation rows; set data.validation, such as 0.1")
    wanted = spec.evaluation
    if wanted is not None and not wanted.prompts and spec.data.test is None and spec.data.validation is None:
        raise SpecError("evaluation needs held-out rows; set data.test or data.validation, such as 0.1")
    if knobs.precision == "fp16" and spec.compute.device == "cpu":
        raise SpecError("hyperparameters.precision: fp16 needs a GPU; use bf16 or fp32 on a CPU")


def _seed(spec: JobSpec, notes: Notes) -> int:
    if spec.seed is not None:
        return spec.seed
    return notes.chosen("seed", "auto", int(spec.sha256[:8], 16) % 2**31, "drawn from the spec, so that it repeats")


def _adapter(spec: JobSpec, model: str, notes: Notes) -> dict[str, Any]:
    adapter: Adapter | None = spec.adapter
    if adapter is None:
        notes.lines.append("adapter: lora (trains fast, fits in little memory)")
        adapter = LoRA()
    made: dict[str, Any] = adapter.model_dump(mode="json")
    if isinstance(adapter, LoRA):
        rank = notes.chosen("adapter.r", adapter.r, RANK, "enough for most tasks")
        alpha = notes.chosen("adapter.alpha", adapter.alpha, 2.0 * rank, "twice the rank")
        targets = list(adapter.target_modules) if isinstance(adapter.target_modules, tuple) else "all-linear"
        saved = list(adapter.modules_to_save) or _saved(spec, model, notes)
        if adapter.target_modules == "auto":
            notes.lines.append("adapter.target_modules: all-linear (as good as full training in most comparisons)")
        made |= {"r": rank, "alpha": alpha, "target_modules": targets, "modules_to_save": saved}
    if isinstance(adapter, IA3):
        made["modules_to_save"] = _saved(spec, model, notes)
    return made


def _saved(spec: JobSpec, model: str, notes: Notes) -> list[str]:
    """Layers trained in full although nobody asked: those without which the built-in model cannot learn."""
    if model != TINY:
        return []
    saved = list(TINY_SAVED[: 1 if spec.method.kind in methods.SCORED else 2])  # a scored model has no lm_head
    notes.lines.append(f"adapter.modules_to_save: {', '.join(saved)} (the built-in model starts from random weights)")
    return saved


def _training(spec: JobSpec, model: str, adapter: str, notes: Notes) -> dict[str, Any]:
    knobs = spec.hyperparameters
    made: dict[str, Any] = knobs.model_dump(mode="json", exclude={"learning_rate_multiplier"})
    chosen = notes.chosen
    made["learning_rate"] = _rate(spec, model, adapter, notes)
    made["epochs"] = chosen("epochs", knobs.epochs, EPOCHS, "usual for small datasets")
    made["batch_size"] = chosen("batch_size", knobs.batch_size, BATCH_SIZE, "fits most machines")
    made["gradient_accumulation"] = chosen(
        "gradient_accumulation", knobs.gradient_accumulation, 1, "batches fit as they are"
    )
    made["scheduler"] = chosen("scheduler", knobs.scheduler, "linear", "decays to zero, no further knob")
    made["warmup_ratio"] = chosen("warmup_ratio", knobs.warmup_ratio, WARMUP_RATIO, "steadies the first steps")
    made["weight_decay"] = chosen("weight_decay", knobs.weight_decay, 0.0, "adapters need none")
    made["max_grad_norm"] = chosen("max_grad_norm", knobs.max_grad_norm, 1.0, "cuts off outliers")
    made["optimizer"] = chosen("optimizer", knobs.optimizer, "adamw_torch_fused", "AdamW in one kernel")
    made["max_seq_length"] = chosen("max_seq_length", knobs.max_seq_length, MAX_SEQ_LENGTH, "longer rows are reported")
    made["packing"] = _packing(spec, notes)
    return made


def _packing(spec: JobSpec, notes: Notes) -> bool:
    if spec.method.kind == "pretraining" and not isinstance(spec.adapter, PromptTuning):
        return notes.chosen("packing", spec.hyperparameters.packing, True, "texts of all lengths fill every sequence")
    return notes.chosen("packing", spec.hyperparameters.packing, False, "batches of similar length have little padding")


def _rate(spec: JobSpec, model: str, adapter: str, notes: Notes) -> float:
    knobs = spec.hyperparameters
    tiny = model == TINY
    usual = methods.learning_rate(spec.method.kind, adapter, tiny=tiny)
    usual = usual or LEARNING_RATES[tiny, "full" if adapter == Full().kind else "lora"]
    if knobs.learning_rate_multiplier != "auto":
        return usual * knobs.learning_rate_multiplier
    what = "random weights" if tiny else "all weights" if adapter == "full" else "an adapter"
    return notes.chosen("learning_rate", knobs.learning_rate, usual, f"usual for training {what}")


def _file(file: DataFile) -> dict[str, JsonValue]:
    return {"role": file.role, "source": file.source, "format": file.format, "rows": file.rows, "sha256": file.sha256}


class _Training(msgspec.Struct):
    epochs: float
    max_steps: int | None
    batch_size: int
    gradient_accumulation: int
    max_seq_length: int
    packing: bool


class _Compute(msgspec.Struct):
    processes: int


class Sent(msgspec.Struct):
    """What the provider itself reads back from a request; the rest is the worker's."""

    compute: _Compute
    training: _Training


def sent(request: Mapping[str, JsonValue]) -> Sent:
    """The provider's own part of a request."""
    return msgspec.convert(dict(request), Sent)
