"""Olive's run configurations (olive-ai 0.13.0, `olive run --config`); read in its sources on 2026-11-21.

Passes that train or export become the `onnx` provider's own stages. Where one has no counterpart, or is searched over,
all of them go to its `engine: olive` as they are; a pass that Olive does not have is an error. Only what is written in
the file is turned over: Olive's defaults are not ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_sdk._document import is_mapping
from finetune_sdk._words import did_you_mean
from finetune_sdk.deploy import olive
from finetune_sdk.errors import SpecError
from finetune_sdk.imports._found import Imported
from finetune_sdk.imports._walk import Walk

_TRAINING: Mapping[str, Mapping[str, Any]] = {
    "LoRA": {"kind": "lora"},
    "QLoRA": {"kind": "lora", "quantize": "4bit"},
    "DoRA": {"kind": "lora", "dora": True},
}
_ALGORITHMS = {
    "Rtn": "rtn", "OnnxBlockWiseRtnQuantization": "rtn", "KQuant": "k_quant", "OnnxKQuantQuantization": "k_quant",
}  # fmt: skip
_ARGUMENTS = {
    "learning_rate": "learning_rate", "max_steps": "max_steps", "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size", "gradient_accumulation_steps": "gradient_accumulation",
    "lr_scheduler_type": "scheduler", "warmup_ratio": "warmup_ratio", "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm", "optim": "optimizer", "gradient_checkpointing": "gradient_checkpointing",
    "eval_steps": "eval_steps", "save_steps": "save_steps", "logging_steps": "log_steps",
}  # fmt: skip
"""transformers' training arguments and our knobs."""
_FOR_OLIVE = ("systems", "host", "target", "evaluators", "evaluator", "search_strategy")
_KNOBS = {"r": "adapter.r", "alpha": "adapter.alpha", "lora_dropout": "adapter.dropout"}
_OURS = (
    "output_dir",
    "cache_dir",
    "clean_cache",
    "log_severity_level",
    "log_to_file",
    "workflow_id",
    "clean_evaluation_cache",
)
"""Where Olive writes and what it says: a job has a folder of its own here."""
_FIELD = re.compile(r"(?<!{){(\w+)}(?!})")


def recognises(document: Mapping[str, Any]) -> bool:
    """By the keys that only Olive's configurations have together."""
    return "passes" in document and ("input_model" in document or "model" in document)


def convert(document: Mapping[str, Any], path: Path) -> Imported:
    """Our description of the same work. Raises `SpecError` for unknown passes and for a file without a model."""
    passes = _passes(document, path)
    walk = Walk(document, str(path))
    walk.made["provider"] = "onnx"
    _model(walk, path)
    if _has_counterparts(passes, document):
        for name, kind in passes.items():
            _pass(walk, name, kind)
    else:
        _keep(walk, document)
    _data(walk)
    for key in walk.left():
        if key.split(".")[0] in _OURS:
            walk.note(key, "(the job has a folder and a log of its own)")
            walk.take(key)
        else:
            walk.take(key)
            walk.tell("import-key", "warning", key, f"{key} has no counterpart and is left out")
    return Imported(document=walk.made, mapped=tuple(walk.mapped), findings=tuple(walk.findings), importer="olive")


def _passes(document: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Kind of every pass by its name; a list of one is a pass, too."""
    found: dict[str, str] = {}
    passes = document["passes"]
    if not is_mapping(passes):
        raise SpecError(f"{path}: passes: a mapping from names to passes, not {type(passes).__name__}")
    for name, given in passes.items():
        kind = given.get("type") if is_mapping(given) else None
        if not isinstance(kind, str):
            raise SpecError(f"{path}: passes.{name}: a pass has a `type`, such as LoRA")
        passes_known = olive.table().passes
        known = {one.lower(): one for one in passes_known}
        if kind.lower() not in known:
            raise SpecError(f"{path}: passes.{name}: Olive has no pass {kind!r}{did_you_mean(kind, passes_known)}")
        found[str(name)] = known[kind.lower()]
    return found


def _model(walk: Walk, path: Path) -> None:
    for top in ("input_model", "model"):
        for key in (f"{top}.model_path", f"{top}.config.model_path", f"{top}.config.hf_config.model_name"):
            if walk.has(key) and "model" not in walk.made:
                walk.put(key, "model", str(walk.take(key)))
        if walk.has(f"{top}.type"):
            kind = str(walk.take(f"{top}.type"))
            walk.note(f"{top}.type", "model")
            if kind.lower() not in ("hfmodel", "pytorchmodel"):
                raise SpecError(
                    f"{path}: {top}.type: only Hugging Face models are trained and exported here, not {kind}"
                )
        if walk.has(f"{top}.adapter_path"):
            walk.put(f"{top}.adapter_path", "options.onnx.source", str(walk.take(f"{top}.adapter_path")))
    if "model" not in walk.made:
        raise SpecError(f"{path}: input_model.model_path is missing: which model?")


def _pass(walk: Walk, name: str, kind: str) -> None:
    place = f"passes.{name}"
    walk.take(f"{place}.type")
    if kind in _TRAINING:
        for key, value in _TRAINING[kind].items():
            walk.put(f"{place}.type", f"adapter.{key}", value)
        _training(walk, place)
    elif kind == "MergeAdapterWeights":
        walk.note(f"{place}.type", "(adapters are merged, exactly, before every export)")
    elif kind == "ModelBuilder":
        walk.note(f"{place}.type", "provider")
        _take(walk, f"{place}.precision", "options.onnx.precision")
        _take(walk, f"{place}.int4_block_size", "options.onnx.block_size")
        _take(walk, f"{place}.int4_accuracy_level", "options.onnx.accuracy_level")
    elif kind in _ALGORITHMS:
        walk.put(f"{place}.type", "options.onnx.algorithm", _ALGORITHMS[kind])
        _take(walk, f"{place}.block_size", "options.onnx.block_size")


def _has_counterparts(passes: Mapping[str, str], document: Mapping[str, Any]) -> bool:
    ours = {*_TRAINING, *_ALGORITHMS, "MergeAdapterWeights", "ModelBuilder"}
    return set(passes.values()) <= ours and not olive.searched(document["passes"])


def _keep(walk: Walk, document: Mapping[str, Any]) -> None:
    """All passes for Olive itself, and what its run needs beside them. Their rows are those of the job."""
    given: dict[str, Any] = document["passes"]
    walk.put("passes", "options.onnx.engine", "olive")
    walk.put("passes", "options.onnx.olive.passes", given)
    for key in walk.left("passes."):
        walk.take(key)
    for key in _FOR_OLIVE:
        if key in document:
            walk.put(key, f"options.onnx.olive.{key}", document[key])
            for leaf in [key, *walk.left(f"{key}.")]:
                walk.take(leaf, None)


def _training(walk: Walk, place: str) -> None:
    for key, to in _KNOBS.items():
        _take(walk, f"{place}.{key}", to)
    if walk.has(f"{place}.target_modules"):
        value = walk.take(f"{place}.target_modules")
        walk.put(f"{place}.target_modules", "adapter.target_modules", value)
    for key, knob in _ARGUMENTS.items():
        _take(walk, f"{place}.training_args.{key}", f"hyperparameters.{knob}")
    _take(walk, f"{place}.training_args.seed", "seed")


def _take(walk: Walk, key: str, to: str) -> None:
    if walk.has(key):
        walk.put(key, to, walk.take(key))


def _data(walk: Walk) -> None:
    """The first data configuration that names files; a template's fields become columns."""
    lists = walk.left("data_configs")
    taken: Any = walk.take(lists[0]) if len(lists) == 1 else None
    configs: list[Any] = taken if isinstance(taken, list) else []  # pyright: ignore[reportUnknownVariableType]
    config: Any = configs[0] if configs and is_mapping(configs[0]) else {}
    load: Any = config.get("load_dataset_config") or {}
    files = load.get("data_files") or load.get("data_name")
    if not files or (load.get("data_name") == "json" and not load.get("data_files")):
        walk.lacks_rows("data_configs[0].load_dataset_config.data_files is missing")
    else:
        walk.put("data_configs[0].load_dataset_config", "data.train", files)
    before: Any = config.get("pre_process_data_config") or {}
    if (length := before.get("max_seq_len")) is not None:
        walk.put("data_configs[0].pre_process_data_config.max_seq_len", "hyperparameters.max_seq_length", length)
    template = before.get("text_template")
    fields = list(dict.fromkeys(_FIELD.findall(template))) if isinstance(template, str) else []
    if len(fields) == 2:
        walk.put(
            "data_configs[0].pre_process_data_config.text_template",
            "data.columns",
            dict(zip(("prompt", "completion"), fields, strict=True)),
        )
        walk.tell(
            "import-template",
            "warning",
            "data_configs[0].pre_process_data_config.text_template",
            "its marks are left out: the model's chat template writes its own, and only the answer is learned",
            "Compare the rendering: finetune data show.",
        )
    elif template is not None:
        walk.tell(
            "import-template",
            "error",
            "data_configs[0].pre_process_data_config.text_template",
            "only a template of a question field and an answer field becomes columns",
            "Write prompt and completion columns.",
        )
    for number in range(1, len(configs)):
        walk.tell("import-key", "warning", f"data_configs[{number}]", "only the first data configuration is read")
