"""Command lines of Olive (`olive finetune ...`), in a shell file or alone: as olive-ai 0.13.0 and the guides before it
have them (read on 2026-11-21). Several commands become one job: a fine-tuning, and the export of what it made.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune_sdk import _document
from finetune_sdk.errors import SpecError
from finetune_sdk.imports import olive
from finetune_sdk.imports._found import Imported
from finetune_sdk.imports._walk import Walk

_COMMAND = re.compile(r"^\s*(?:\$ |%|!)?\s*(?:python\d? -m )?olive\s+(?P<rest>[a-z].*)$")
_SHORT = {"-m": "model_name_or_path", "-a": "adapter_path", "-o": "output_path", "-d": "data_name", "-t": "task"}
_NUMBERS = {
    "max_steps": "max_steps", "num_train_epochs": "epochs", "learning_rate": "learning_rate",
    "per_device_train_batch_size": "batch_size", "gradient_accumulation_steps": "gradient_accumulation",
    "warmup_ratio": "warmup_ratio", "weight_decay": "weight_decay", "max_grad_norm": "max_grad_norm",
    "max_seq_len": "max_seq_length", "eval_steps": "eval_steps", "save_steps": "save_steps",
    "logging_steps": "log_steps",
}  # fmt: skip
_TEXTS = {"lr_scheduler_type": "scheduler", "optim": "optimizer"}
_METHODS: Mapping[str, Mapping[str, Any]] = {"lora": {"kind": "lora"}, "qlora": {"kind": "lora", "quantize": "4bit"}}
_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_DEVICES = {"cpu": "cpu", "gpu": "cuda"}
_PROVIDERS = {
    "cpuexecutionprovider": "cpu", "cudaexecutionprovider": "cuda", "dmlexecutionprovider": "dml",
    "webgpuexecutionprovider": "webgpu", "nvtensorrtrtxexecutionprovider": "trt-rtx",
}  # fmt: skip
_EXPORTS = ("auto-opt", "optimize", "capture-onnx-graph", "quantize")
_COVERED = {
    "output_path": "(the job has a folder of its own)", "log_level": "(the job has a log of its own)",
    "use_ort_genai": "provider", "use_model_builder": "provider", "exporter": "provider", "setup": "provider",
    "train_split": "data.train", "trust_remote_code": "options.onnx.trust_remote_code",
    "report_to": "report_to", "logging_dir": "(the job has a log of its own)",
}  # fmt: skip
_FIELD = re.compile(r"(?<!{){(\w+)}(?!})")


def recognises(text: str) -> bool:
    """Whether some line is a command of Olive's, and none is a key of a mapping."""
    return next(_commands(text), None) is not None


def convert(text: str, path: Path) -> Imported:
    """Our description of the same work. Raises `SpecError` for a command without counterpart, and without a model."""
    found = list(_commands(text))
    if len(found) == 1 and found[0][0] == "run":
        return _run(found[0][1], path)
    document = {f"{command}{_number(found, at)}": flags for at, (command, flags) in enumerate(found)}
    walk = Walk(document, str(path))
    walk.made["provider"] = "onnx"
    outputs: list[str] = []
    for at, (command, flags) in enumerate(found):
        key = f"{command}{_number(found, at)}"
        _command(walk, key, path, outputs)
        _covered(walk, key)
        if isinstance(made := flags.get("output_path"), str):
            outputs.append(made)
    for key in walk.left():
        walk.take(key)
        walk.tell("import-key", "warning", key, f"--{key.partition('.')[2]} has no counterpart and is left out")
    if "model" not in walk.made:
        raise SpecError(f"{path}: -m (--model_name_or_path) is missing: which model?")
    if "data" not in walk.made:
        walk.lacks_rows("no command names rows (-d json --data_files FILE)")
    return Imported(document=walk.made, mapped=tuple(walk.mapped), findings=tuple(walk.findings), importer="olive")


def _number(found: list[tuple[str, dict[str, Any]]], at: int) -> str:
    """Tells two commands of one name apart."""
    before = sum(command == found[at][0] for command, _ in found[:at])
    return f"-{before + 1}" if before else ""


def _commands(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    joined = re.sub(r"\\\s*\n", " ", text)
    for line in joined.splitlines():
        if (match := _COMMAND.match(line)) is None:
            continue
        words = shlex.split(match["rest"], comments=True)
        yield words[0], _flags(words[1:])


def _flags(words: list[str]) -> dict[str, Any]:
    """`--flag value ...` and `--flag=value`; a flag alone is true."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("-") and not re.match(r"^-\d", word):
            flag, _, value = word.partition("=")
            name = _SHORT.get(flag, flag.lstrip("-").replace("-", "_"))
            found[name] = value or True
        elif found.get(name) is True:
            found[name] = word
        elif name:
            found[name] = f"{found[name]},{word}"
    return found


def _run(flags: Mapping[str, Any], path: Path) -> Imported:
    """`olive run --config FILE`: what the file says, beside the shell file or where the path leads."""
    given = str(flags.get("config") or flags.get("run_config") or "")
    file = Path(given) if Path(given).is_absolute() else path.parent / given
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: olive run --config {given!r}: cannot read {file}: {error}") from error
    document = _document.parse(text.replace("${", "$${"), name=str(file), environ={}).value
    if not _document.is_mapping(document) or not olive.recognises(document):
        raise SpecError(f"{file}: not a run configuration of Olive: it has no `passes` with an `input_model`")
    return olive.convert(document, file)


def _command(walk: Walk, at: str, path: Path, outputs: list[str]) -> None:
    command = re.sub(r"-\d+$", "", at)
    if command == "finetune":
        _finetune(walk, at, path)
    elif command in _EXPORTS:
        _export(walk, at, outputs)
    elif command == "generate-adapter":
        _adapters(walk, at, path)
    else:
        known = ", ".join(("finetune", *_EXPORTS, "generate-adapter", "run"))
        raise SpecError(f"{path}: `olive {command}` has no counterpart here; these have: {known}")


def _covered(walk: Walk, at: str) -> None:
    """Flags that stand for what a job does anyway."""
    for flag, to in _COVERED.items():
        if not walk.has(f"{at}.{flag}"):
            continue
        value = walk.take(f"{at}.{flag}")
        if flag == "trust_remote_code":
            walk.put(f"{at}.{flag}", to, value is True or str(value).lower() == "true")
        elif flag == "report_to":
            walk.put(f"{at}.{flag}", to, [] if value == "none" else str(value).split(","))
        else:
            walk.note(f"{at}.{flag}", to)


def _finetune(walk: Walk, at: str, path: Path) -> None:
    _take(walk, f"{at}.model_name_or_path", "model")
    method = str(walk.take(f"{at}.method", "lora"))
    if method not in _METHODS:
        raise SpecError(f"{path}: olive finetune --method {method}: {', '.join(_METHODS)} have a counterpart")
    for key, value in _METHODS[method].items():
        walk.put(f"{at}.method", f"adapter.{key}", value)
    for flag, knob in (("lora_r", "r"), ("lora_alpha", "alpha")):
        _take(walk, f"{at}.{flag}", f"adapter.{knob}")
    if walk.has(f"{at}.target_modules"):
        value = str(walk.take(f"{at}.target_modules"))
        walk.put(f"{at}.target_modules", "adapter.target_modules", value.split(","))
    for flag, knob in (*_NUMBERS.items(), *_TEXTS.items()):
        _take(walk, f"{at}.{flag}", f"hyperparameters.{knob}")
    if walk.has(f"{at}.gradient_checkpointing"):
        on = str(walk.take(f"{at}.gradient_checkpointing")).lower() != "false"
        walk.put(f"{at}.gradient_checkpointing", "hyperparameters.gradient_checkpointing", on)
    if (dtype := walk.take(f"{at}.torch_dtype", None)) in _DTYPES:
        walk.put(f"{at}.torch_dtype", "hyperparameters.precision", _DTYPES[str(dtype)])
    _rows(walk, at)


def _rows(walk: Walk, at: str) -> None:
    name, files = walk.take(f"{at}.data_name", None), walk.take(f"{at}.data_files", None)
    if files is not None:
        walk.put(f"{at}.data_files", "data.train", files)
        walk.note(f"{at}.data_name", "data.train")
    elif name is not None:
        walk.put(f"{at}.data_name", "data.train", f"hf://datasets/{name}" if "/" in str(name) else name)
    if walk.has(f"{at}.eval_split"):
        split = str(walk.take(f"{at}.eval_split"))
        share = re.fullmatch(r"\w+\[(\d+)%:\]", split)
        if share is None:
            walk.tell(
                "import-split",
                "warning",
                f"{at}.eval_split",
                f"{split!r} is no share of the rows",
                "Set data.validation.",
            )
        else:
            walk.put(f"{at}.eval_split", "data.validation", round(1 - int(share[1]) / 100, 4))
    template = walk.take(f"{at}.text_template", None)
    if template is None:
        return
    fields = list(dict.fromkeys(_FIELD.findall(str(template))))
    where = f"{at}.text_template"
    if len(fields) != 2:
        fix = "Write prompt and completion columns."
        text = "only a template of a question field and an answer field becomes columns"
        walk.tell("import-template", "error", where, text, fix)
        return
    walk.put(where, "data.columns", dict(zip(("prompt", "completion"), fields, strict=True)))
    marks = "its marks are left out: the model's chat template writes its own, and only the answer is learned"
    walk.tell("import-template", "warning", where, marks, "Compare the rendering: finetune data show.")


def _export(walk: Walk, at: str, outputs: list[str]) -> None:
    """An adapter or model that an earlier command of the file wrote is the job's own."""
    adapter = walk.take(f"{at}.adapter_path", None)
    made_here = any(str(adapter).startswith(folder) for folder in outputs)
    if adapter is not None and made_here:
        walk.note(f"{at}.adapter_path", "(what this job trains)")
    elif adapter is not None:
        walk.put(f"{at}.adapter_path", "options.onnx.source", adapter)
    model = walk.take(f"{at}.model_name_or_path", None)
    if model is not None and any(str(model).startswith(folder) for folder in outputs):
        walk.note(f"{at}.model_name_or_path", "(what this job trains)")
    elif model is not None and "model" not in walk.made:
        walk.put(f"{at}.model_name_or_path", "model", model)
        if adapter is None:
            walk.put(f"{at}.model_name_or_path", "options.onnx.source", model)
    else:
        walk.note(f"{at}.model_name_or_path", "model")
    _take(walk, f"{at}.precision", "options.onnx.precision")
    _take(walk, f"{at}.block_size", "options.onnx.block_size")
    provider = walk.take(f"{at}.provider", None)
    device = walk.take(f"{at}.device", None)
    for flag, value, known in (("device", device, _DEVICES), ("provider", provider, _PROVIDERS)):
        if value is None:
            continue
        if str(value).lower() in known:
            walk.put(f"{at}.{flag}", "options.onnx.device", known[str(value).lower()])
        else:
            walk.tell("import-device", "error", f"{at}.{flag}", f"{value} is no device of the onnx provider's")


def _adapters(walk: Walk, at: str, path: Path) -> None:
    """`--base_model_path BASE --adapter_paths A,B`: one base, and a file for each adapter."""
    base = walk.take(f"{at}.base_model_path", None) or walk.take(f"{at}.model_name_or_path", None)
    given = walk.take(f"{at}.adapter_paths", None) or walk.take(f"{at}.adapter_path", None)
    if base is None or given is None:
        raise SpecError(f"{path}: olive generate-adapter needs --base_model_path and --adapter_paths")
    walk.put(f"{at}.base_model_path", "options.onnx.source", base)
    walk.made.setdefault("model", base)
    walk.put(f"{at}.adapter_paths", "options.onnx.merge", False)
    folders = str(given).split(",")
    names = [folder.rstrip("/").rpartition("/")[2] for folder in folders]
    distinct = names if len({*names}) == len(names) else [f"adapter-{number + 1}" for number in range(len(names))]
    walk.put(f"{at}.adapter_paths", "options.onnx.adapters", dict(zip(distinct, folders, strict=True)))


def _take(walk: Walk, key: str, to: str) -> None:
    if walk.has(key):
        walk.put(key, to, _value(walk.take(key)))


def _value(text: Any) -> Any:
    """A number where it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            continue
    return text
