"""`JobSpec` -> the worker's request: pure translation into AutoTrain's parameters, by tables.

What is "auto" is left out of the parameters: AutoTrain's own default counts, and the plan says which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from pydantic import JsonValue

from finetune_providers.autotrain.options import Options
from finetune_providers.autotrain.parameters import fields
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import Capabilities
from finetune_sdk.spec import DPO, Classification, Full, JobSpec, LoRA
from finetune_sdk.types import DataFile

NAME = "autotrain"
_KNOBS: Mapping[str, str] = {
    "learning_rate": "lr",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "gradient_accumulation": "gradient_accumulation",
    "scheduler": "scheduler",
    "warmup_ratio": "warmup_ratio",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "optimizer": "optimizer",
    "log_steps": "logging_steps",
}
"""Our hyperparameter -> theirs, same meaning."""
_PRECISION: Mapping[str, str | None] = {"fp32": None, "bf16": "bf16", "fp16": "fp16"}
_QUANTIZE: Mapping[str, str | None] = {"none": None, "4bit": "int4", "8bit": "int8"}
_MODEL_MAX = 2048


def request(
    spec: JobSpec, model: str, options: Options, files: Sequence[DataFile]
) -> tuple[dict[str, JsonValue], tuple[str, ...]]:
    """The request that `submit` writes for the worker, and the notes about what was chosen."""
    notes: list[str] = []
    made = {**_training(spec, options, notes), **_adapter(spec, options, notes), **options.parameters}
    made["log"] = "tensorboard" if "tensorboard" in spec.report_to else "none"
    seed = spec.seed if spec.seed is not None else int(spec.sha256[:8], 16) % 2**31
    if spec.seed is None:
        notes.append(f"seed: {seed} (drawn from the spec, so that it repeats)")
    made["seed"] = seed
    _say_defaults(options, made, notes)
    _say_what_is_different(spec, options, notes)
    method = spec.method
    whole: dict[str, Any] = {
        "task": options.task_name,
        "model": model,
        "parameters": made,
        "labels": list(method.labels) if isinstance(method, Classification) and method.labels != "auto" else None,
        "training": {"max_steps": spec.hyperparameters.max_steps},
        "options": {"allow_remote_code": options.allow_remote_code, "as_they_are": options.as_they_are},
        "compute": spec.compute.model_dump(mode="json"),
        "evaluation": None if spec.evaluation is None else spec.evaluation.model_dump(mode="json"),
        "seed": seed,
        "metadata": dict(spec.metadata),
        "max_hours": spec.budget.max_hours,
        "data": spec.data.model_dump(mode="json"),
        "data_method": data_method(spec, options),
        "data_files": [msgspec.to_builtins(file) for file in files],
        "spec_sha256": spec.sha256,
        "sdk_version": version("finetune-sdk"),
    }
    return whole, tuple(notes)


def data_method(spec: JobSpec, options: Options) -> str:
    """The method whose rows this job learns from."""
    return options.task.data or spec.method.kind


def _training(spec: JobSpec, options: Options, notes: list[str]) -> dict[str, Any]:
    knobs, known = spec.hyperparameters, fields(options.task.parameters)
    made: dict[str, Any] = {}
    for ours, theirs in _KNOBS.items():
        value = getattr(knobs, ours)
        if value != "auto":
            made[theirs] = value
    if "epochs" in made:
        made["epochs"] = _whole_epochs(made["epochs"])
    if knobs.precision != "auto":
        if knobs.precision == "fp16" and spec.compute.device == "cpu":
            raise SpecError("hyperparameters.precision: fp16 needs a GPU; use bf16 or fp32 on a CPU")
        made["mixed_precision"] = _PRECISION[knobs.precision]
    made |= _length(spec, options)
    if knobs.gradient_checkpointing != "auto":
        _need("disable_gradient_checkpointing", "hyperparameters.gradient_checkpointing", known, options)
        made["disable_gradient_checkpointing"] = not knobs.gradient_checkpointing
    if knobs.packing != "auto" and knobs.packing is not (options.task_name in ("llm-sft", "llm-generic")):
        always = "always packs" if not knobs.packing else "never packs"
        raise Unsupported(NAME, f"`hyperparameters.packing`: AutoTrain {always} here", "Leave it out.")
    if knobs.early_stopping is not None:
        _need("early_stopping_patience", "hyperparameters.early_stopping", known, options)
        if spec.data.validation is None:
            raise SpecError("hyperparameters.early_stopping needs validation rows; set data.validation, such as 0.1")
        made["early_stopping_patience"] = knobs.early_stopping.patience
        made["early_stopping_threshold"] = knobs.early_stopping.min_delta
    if isinstance(spec.method, DPO) and spec.method.beta != "auto":
        made["dpo_beta"] = spec.method.beta
    if knobs.max_steps is not None and knobs.epochs != "auto":
        notes.append("epochs: not used, max_steps wins")
    return made


def _whole_epochs(epochs: float) -> int:
    if epochs != int(epochs):
        raise SpecError(f"hyperparameters.epochs: AutoTrain counts whole epochs, not {epochs:g}; or set max_steps")
    return int(epochs)


def _length(spec: JobSpec, options: Options) -> dict[str, Any]:
    wanted = spec.hyperparameters.max_seq_length
    if wanted == "auto":
        return {}
    made: dict[str, Any] = {options.task.length: wanted}
    if options.task.length == "block_size" and "model_max_length" not in options.parameters and wanted > _MODEL_MAX:
        made["model_max_length"] = wanted  # AutoTrain cuts blocks to this as well
    return made


def _need(name: str, ours: str, known: Mapping[str, object], options: Options) -> None:
    if name not in known:
        raise Unsupported(NAME, f"`{ours}` with task {options.task_name}: AutoTrain has no such knob", "Leave it out.")


def _adapter(spec: JobSpec, options: Options, notes: list[str]) -> dict[str, Any]:
    adapter = spec.adapter
    if not options.task.adapter:
        if isinstance(adapter, LoRA):
            what = f"`adapter.lora` with task {options.task_name}: AutoTrain trains all weights there"
            raise Unsupported(NAME, what, "Leave the adapter out, or set `adapter: full`.")
        notes.append("adapter: full (AutoTrain has no adapters for this task)")
        return {}
    if isinstance(adapter, Full):
        return {"peft": False, "quantization": None}
    if adapter is None:
        notes.append("adapter: lora (trains fast, fits in little memory)")
    lora = adapter if isinstance(adapter, LoRA) else LoRA()
    made: dict[str, Any] = {"peft": True, "quantization": _QUANTIZE[lora.quantize], "lora_dropout": lora.dropout}
    if lora.r != "auto":
        made["lora_r"] = lora.r
        made["lora_alpha"] = 2 * lora.r
    if lora.alpha != "auto":
        if lora.alpha != int(lora.alpha):
            raise SpecError(f"adapter.alpha: AutoTrain takes whole numbers, not {lora.alpha:g}")
        made["lora_alpha"] = int(lora.alpha)
    targets = lora.target_modules
    made["target_modules"] = ",".join(targets) if isinstance(targets, tuple) else "all-linear"
    return made


_SAID = ("lr", "epochs", "batch_size", "gradient_accumulation", "block_size", "max_seq_length", "max_prompt_length")


def _say_defaults(options: Options, made: Mapping[str, Any], notes: list[str]) -> None:
    known = fields(options.task.parameters)
    names = [name for name in _SAID if name in known and name not in made]
    if options.task_name not in ("llm-dpo", "llm-orpo"):
        names = [name for name in names if name != "max_prompt_length"]
    for name in names:
        value = known[name]["default"]
        shown = "the model's length, at most 1024" if value == -1 else value
        notes.append(f"{name}: {shown} (AutoTrain's default)")


def _say_what_is_different(spec: JobSpec, options: Options, notes: list[str]) -> None:
    if options.task_name in ("llm-sft", "llm-generic") and spec.method.kind == "sft":
        notes.append("loss: on every token, the questions too; AutoTrain masks nothing and always packs")
    if options.task_name.startswith("llm-") and spec.data.validation is not None:
        notes.append("validation: AutoTrain drops these rows; they are evaluated once, after training")


def check_quantization(spec: JobSpec, *, gpu: bool, capabilities: Capabilities) -> None:
    """int4 and int8 need a GPU: AutoTrain's bitsandbytes 0.45.0 has no CPU build (seen)."""
    if not isinstance(spec.adapter, LoRA) or spec.adapter.quantize == "none":
        return
    if spec.compute.device == "cpu" or (spec.compute.kind == "local" and not gpu):
        note = capabilities.claim("adapter.lora.quantize").note
        raise Unsupported(NAME, f"`adapter.lora.quantize` on a CPU ({note})", "Set adapter.quantize to none.")


def check_rented(spec: JobSpec, request: Mapping[str, Any], *, capabilities: Capabilities) -> None:
    """The same for a rented machine, once it is known whether it has a GPU."""
    rented = request.get("rented")
    if rented is not None:
        check_quantization(
            spec.model_copy(update={"compute": spec.compute.model_copy(update={"kind": "local"})}),
            gpu=bool(rented["gpu"]),
            capabilities=capabilities,
        )
