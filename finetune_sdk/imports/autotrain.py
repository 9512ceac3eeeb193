"""AutoTrain's configuration files (0.8.36, `autotrain --config`): parser.py and trainers/*/params.py, read 2026-11-21.

What AutoTrain leaves to its defaults is left to the `autotrain` provider, whose "auto" is the same default.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from finetune_sdk._words import did_you_mean
from finetune_sdk.errors import SpecError
from finetune_sdk.imports._found import Imported
from finetune_sdk.imports._walk import Walk

PROVIDER = "autotrain"


class Task(NamedTuple):
    """What a task of theirs is here. `columns`: their parameter to our column name."""

    task: str
    method: str
    columns: Mapping[str, str]
    implied: bool = False
    """The method alone says which task is meant."""


_PAIR = {"sentence1_column": "anchor", "sentence2_column": "positive"}
_CHAT = {"text_column": "messages"}
_PREFERENCE = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
_TEXT = {"text_column": "text", "target_column": "label"}

TASKS: Mapping[str, Task] = {
    "llm-sft": Task("llm-sft", "sft", _CHAT, implied=True),
    "llm-generic": Task("llm-generic", "sft", _CHAT),
    "llm-dpo": Task("llm-dpo", "dpo", _PREFERENCE, implied=True),
    "llm-orpo": Task("llm-orpo", "orpo", _PREFERENCE, implied=True),
    "llm-reward": Task("llm-reward", "reward", _PREFERENCE, implied=True),
    "text-classification": Task("text-classification", "classification", _TEXT, implied=True),
    "text-regression": Task("text-regression", "classification", _TEXT),
    "token-classification": Task(
        "token-classification", "classification", {"tokens_column": "tokens", "tags_column": "tags"}
    ),
    "seq2seq": Task("seq2seq", "sft", {"text_column": "prompt", "target_column": "completion"}),
    "st:pair": Task("st:pair", "sft", _PAIR),
    "st:qa": Task("st:qa", "sft", _PAIR),
    "st:triplet": Task("st:triplet", "sft", {**_PAIR, "sentence3_column": "negative"}),
    "st:pair_class": Task(
        "st:pair_class", "sft", {"sentence1_column": "text", "sentence2_column": "text_pair", "target_column": "label"}
    ),
    "st:pair_score": Task(
        "st:pair_score", "sft", {"sentence1_column": "text", "sentence2_column": "text_pair", "target_column": "label"}
    ),
}
_TRAINERS = {"default": "llm-generic", "generic": "llm-generic"}
_ALIASES = {
    "text_binary_classification": "text-classification",
    "text-binary-classification": "text-classification",
    "text_single_column_regression": "text-regression",
    "text-single-column-regression": "text-regression",
    "sentence-transformers": "st",
}
_REFUSED = {
    "tabular": "AutoTrain's own pins of xgboost 2.1.3 and scikit-learn 1.6.0 do not work together",
    "image": "the data layer reads no images",
    "object": "the data layer reads no images",
    "vlm": "the data layer reads no images",
    "dreambooth": "AutoTrain 0.8.36 has it no longer, and no provider trains image generators",
    "automatic": "AutoTrain 0.8.36 has no speech recognition",
    "extractive": "the data layer has no format for answers inside a context",
    "ext": "the data layer has no format for answers inside a context",
}

_KNOBS: Mapping[str, str] = {
    "lr": "learning_rate",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "warmup_ratio": "warmup_ratio",
    "gradient_accumulation": "gradient_accumulation",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "weight_decay": "weight_decay",
    "max_grad_norm": "max_grad_norm",
    "max_seq_length": "max_seq_length",
}
"""Parameters that are a common field of ours, of the same meaning."""
_SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
_LORA = {"lora_r": "r", "lora_alpha": "alpha", "lora_dropout": "dropout"}
_QUANTIZE = {"int4": "4bit", "int8": "8bit", "none": "none", "None": "none", None: "none", "": "none"}
_PRECISION = {"fp16": "fp16", "bf16": "bf16", "none": "fp32", "None": "fp32", None: "fp32", "": "fp32"}
_SECRETS = ("hub.token", "params.token")


def recognises(document: Mapping[str, Any]) -> bool:
    """AutoTrain demands these keys of every file."""
    return {"task", "base_model", "project_name", "data"} <= document.keys()


def convert(document: Mapping[str, Any], path: Path) -> Imported:
    """The job for the `autotrain` provider. Raises `SpecError` for a task that no provider of ours trains."""
    walk = Walk(document, str(path))
    task = _task(walk)
    walk.made |= {"provider": PROVIDER}
    walk.put("base_model", "model", str(walk.take("base_model")))
    walk.put("project_name", "metadata.project_name", str(walk.take("project_name")))
    _data(walk, task, path.absolute().parent)
    _backend(walk)
    _log(walk)
    _hub(walk)
    _adapter(walk, task)
    for key, then in _PARAMETERS.items():
        if walk.has(f"params.{key}"):
            then(walk, f"params.{key}", walk.take(f"params.{key}"))
    _length(walk)
    for key in walk.left("params."):
        _pass_on(walk, key, walk.take(key))
    for key in walk.left():
        walk.take(key)
        walk.tell("key-unknown", "warning", key, "AutoTrain has no such key and ignores it; left out")
    order = ("provider", "model", "data", "method", "adapter", "hyperparameters", "compute")
    made = {key: walk.made[key] for key in order if key in walk.made}
    return Imported(
        document=made | walk.made, mapped=tuple(walk.mapped), findings=tuple(walk.findings), importer=PROVIDER
    )


# --- the task -------------------------------------------------------------------------------------------------------


def _task(walk: Walk) -> Task:
    given = str(walk.take("task"))
    name = _named(given)
    if name == "llm" or name.startswith("llm-"):
        word = _trainer(walk, name.removeprefix("llm-") if "-" in name else "default")
        name = _TRAINERS.get(word, f"llm-{word}")
    elif name.startswith("st"):
        kind = _trainer(walk, name.partition(":")[2]).replace("-", "_")
        name = f"st:{kind}"
    found = TASKS.get(name)
    if found is None:
        raise SpecError(_cannot(given, name))
    chat = walk.has("data.chat_template") and walk.take("data.chat_template")
    if found.method == "sft" and name.startswith("llm") and chat in (None, False, "none", "None"):
        found = Task(name, "pretraining", {"text_column": "text"}, implied=name == "llm-generic")
        walk.note("data.chat_template", "method (null: the column holds plain text)")
    elif chat == "tokenizer":
        walk.note("data.chat_template", "(the default: the tokenizer's own)")
    elif chat:
        walk.put("data.chat_template", f"options.{PROVIDER}.chat_template", chat)
    walk.put("task", "method", {"kind": found.method})
    if not found.implied:
        walk.put("task", f"options.{PROVIDER}.task", found.task)
    return found


def _trainer(walk: Walk, otherwise: str) -> str:
    """AutoTrain's second word for the task; it wins over the first."""
    if walk.has("params.trainer"):
        walk.note("params.trainer", "method (with the task)")
    return str(walk.take("params.trainer", otherwise))


def _named(given: str) -> str:
    head, colon, tail = given.partition(":")
    name = _ALIASES.get(head, head).replace("_", "-")
    return f"{_ALIASES.get(name, name)}{colon}{tail}"


def _cannot(given: str, name: str) -> str:
    reason = next((why for head, why in _REFUSED.items() if name.startswith(head)), None)
    if reason is not None:
        return f"task: {given!r} cannot be imported: {reason}"
    return f"task: AutoTrain 0.8.36 has no {given!r}{did_you_mean(name, TASKS) or '.'} It has: {', '.join(TASKS)}"


# --- the data -------------------------------------------------------------------------------------------------------


def _data(walk: Walk, task: Task, folder: Path) -> None:
    where = str(walk.take("data.path", "")) or "data"
    walk.put("data.path", "data.train", _file(walk, where, "train", folder))
    valid = walk.take("data.valid_split", None)
    if valid not in (None, "", "none", "None"):
        walk.put("data.valid_split", "data.validation", _split(walk, where, "valid", str(valid), folder))
        if task.task.startswith("llm-"):
            walk.tell(
                "validation-was-dropped",
                "info",
                "data.valid_split",
                "AutoTrain silently drops the validation rows of language models; here they are evaluated",
            )
    else:
        walk.note("data.valid_split", "(none)")
    for key in [*walk.left("data.column_mapping."), *(f"params.{name}" for name in task.columns)]:
        if walk.has(key):
            _column(walk, task, key, walk.take(key))
    if walk.has("data.column_mapping"):
        walk.note("data.column_mapping", "(nothing to map)")
        walk.take("data.column_mapping")


def _column(walk: Walk, task: Task, key: str, theirs: Any) -> None:
    ours = task.columns.get(key.rpartition(".")[2])
    if theirs in (None, ""):
        walk.note(key, "(unset)")
    elif ours is None:
        walk.tell("column-unused", "warning", key, f"task {task.task} reads no such column; left out")
    elif ours == theirs:
        walk.note(key, f"(the column is called {ours!r} already)")
    else:
        walk.put(key, f"data.columns.{ours}", str(theirs))


def _file(walk: Walk, where: str, role: str, folder: Path) -> str:
    split = str(walk.take(f"data.{role}_split", None) or role)
    walk.note(f"data.{role}_split", f"data.{role} (the file's name)")
    return _split(walk, where, role, split, folder)


def _split(walk: Walk, where: str, role: str, split: str, folder: Path) -> str:
    """The file of a split: a local one when it exists, else what to look at before the job runs."""
    for base in (folder, Path.cwd()):
        place = base / Path(where).expanduser()
        for ending in ("jsonl", "csv", "json", "parquet"):
            if (found := place / f"{split}.{ending}").is_file():
                return str(found)
        if place.is_file():
            return str(place)
    key, (subset, _, name) = f"data.{role}_split", split.rpartition(":")
    local = where.startswith((".", "/", "~")) or where.endswith("/") or where.count("/") > 1 or " " in where
    if local or (folder / where).is_dir():
        walk.tell(
            "data-not-found",
            "warning",
            "data.path",
            f"no file {name}.jsonl or {name}.csv in {where!r}",
            f"Correct data.{'train' if role == 'train' else 'validation'} in the spec.",
        )
        return str(Path(where) / f"{name}.jsonl")
    if "/" not in where:
        walk.tell(
            "hub-name",
            "warning",
            "data.path",
            f"there is no folder {where!r} here, and a dataset on the hub has an owner",
            f"Name it in the spec: hf://datasets/<OWNER>/{where}#{name}.",
        )
        return f"hf://datasets/{where}/{where}#{name}"
    if subset:
        walk.tell(
            "hub-subset",
            "info",
            key,
            f"the subset {subset!r} of {where} is taken to be a folder of that name",
            "Name its files in the spec if it is none.",
        )
        return f"hf://datasets/{where}/{subset}#{name}"
    return f"hf://datasets/{where}#{name}"


# --- where, and who hears of it -------------------------------------------------------------------------------------


def _backend(walk: Walk) -> None:
    given = str(walk.take("backend", "local"))
    if given.startswith("local"):
        walk.note("backend", "compute.kind (local: the default)")
    elif given.startswith("spaces-"):
        walk.put("backend", "compute", {"kind": "hf-space", "flavor": given.removeprefix("spaces-")})
    else:
        walk.tell("backend", "warning", "backend", f"{given!r} has no counterpart; the job runs on this machine")


def _log(walk: Walk) -> None:
    given = walk.take("log", "none")
    if given in ("tensorboard", "wandb"):
        walk.put("log", "report_to", [given])
    elif given in ("none", "None", None):
        walk.note("log", "report_to (none: the default)")
    else:
        walk.tell("log", "warning", "log", f"no counterpart for {given!r}; nothing is logged there")


def _hub(walk: Walk) -> None:
    for key in _SECRETS:
        if walk.has(key):
            walk.take(key)
            walk.tell(
                "secret", "info", key, "secrets have no place in a spec", "Set HF_TOKEN in the environment instead."
            )
    for prefix in ("hub", "params"):
        push = walk.take(f"{prefix}.push_to_hub", None)
        if push is not None:
            walk.note(f"{prefix}.push_to_hub", "(after the job)" if push else "(false: the default)")
        if push:
            walk.tell(
                "push-to-hub",
                "info",
                f"{prefix}.push_to_hub",
                "the model stays on this machine",
                "Push it afterwards: finetune export JOB --to hub.",
            )
        if walk.has(f"{prefix}.username"):
            walk.take(f"{prefix}.username")
            walk.note(f"{prefix}.username", "(not needed: the token says who you are)")
    if walk.has("hub"):
        walk.take("hub")


# --- parameters -----------------------------------------------------------------------------------------------------


def _adapter(walk: Walk, task: Task) -> None:
    if not (task.task.startswith("llm-") or task.task == "seq2seq"):
        return
    peft = walk.take("params.peft", False)
    walk.put("params.peft", "adapter.kind", "lora" if peft else "full")
    if not peft:
        for name in ("quantization", "target_modules", *_LORA):
            if walk.has(f"params.{name}"):
                walk.take(f"params.{name}")
                walk.tell("unused", "info", f"params.{name}", "without peft AutoTrain ignores it; left out")
        return
    for name, ours in _LORA.items():
        if walk.has(f"params.{name}"):
            walk.put(f"params.{name}", f"adapter.{ours}", walk.take(f"params.{name}"))
    targets = walk.take("params.target_modules", None)
    if targets is not None:
        names = [part.strip() for part in str(targets).split(",") if part.strip()]
        whole = not names or names == ["all-linear"]
        walk.put("params.target_modules", "adapter.target_modules", "all-linear" if whole else names)
    default = "int8" if task.task == "seq2seq" else "int4"
    if not walk.has("params.quantization"):
        walk.tell(
            "quantization-default",
            "warning",
            "params.quantization",
            f"it is not set, and AutoTrain's default with peft is {default}, which needs a GPU",
            "Set adapter.quantize to none for training in full precision.",
        )
    given = walk.take("params.quantization", default)
    if given in _QUANTIZE:
        walk.put("params.quantization", "adapter.quantize", _QUANTIZE[given])
    else:
        walk.tell("value", "warning", "params.quantization", f"AutoTrain has no {given!r}; left out")


def _knob(walk: Walk, key: str, value: Any) -> None:
    walk.put(key, f"hyperparameters.{_KNOBS[key.removeprefix('params.')]}", value)


def _scheduler(walk: Walk, key: str, value: Any) -> None:
    if value in _SCHEDULERS:
        walk.put(key, "hyperparameters.scheduler", value)
    else:
        _pass_on(walk, key, value)


def _seed(walk: Walk, key: str, value: Any) -> None:
    walk.put(key, "seed", value)


def _beta(walk: Walk, key: str, value: Any) -> None:
    if walk.made["method"]["kind"] == "dpo":
        walk.put(key, "method.beta", value)
    else:
        walk.tell("unused", "info", key, "only DPO reads it; left out")


def _precision(walk: Walk, key: str, value: Any) -> None:
    if value in _PRECISION:
        walk.put(key, "hyperparameters.precision", _PRECISION[value])
    else:
        walk.tell("value", "warning", key, f"AutoTrain has no {value!r}; left out")


def _checkpointing(walk: Walk, key: str, value: Any) -> None:
    walk.put(key, "hyperparameters.gradient_checkpointing", not value)


def _log_steps(walk: Walk, key: str, value: Any) -> None:
    if value == -1:
        walk.note(key, "hyperparameters.log_steps (auto: the default)")
    else:
        walk.put(key, "hyperparameters.log_steps", value)


def _foreign(walk: Walk, key: str, value: Any) -> None:
    """Switches of other libraries that AutoTrain cannot use either."""
    if value in (False, None, "None", "none"):
        walk.note(key, "(off: the default)")
        return
    text = "AutoTrain's pins and Unsloth's cannot be installed together; left out"
    if key.endswith("unsloth"):
        walk.tell("unsloth", "warning", key, text, "Use `provider: unsloth` instead.")
    else:
        walk.tell("unused", "warning", key, "one process trains here; left out")


_PARAMETERS: Mapping[str, Callable[[Walk, str, Any], None]] = {
    **dict.fromkeys(_KNOBS, _knob),
    "scheduler": _scheduler,
    "seed": _seed,
    "dpo_beta": _beta,
    "mixed_precision": _precision,
    "disable_gradient_checkpointing": _checkpointing,
    "logging_steps": _log_steps,
    "unsloth": _foreign,
    "distributed_backend": _foreign,
}


def _length(walk: Walk) -> None:
    """A block is what we call the longest sequence; -1 leaves it to AutoTrain."""
    if not walk.has("params.block_size"):
        return
    value = walk.take("params.block_size")
    if isinstance(value, int) and value > 0:
        walk.put("params.block_size", "hyperparameters.max_seq_length", value)
    elif value == -1:
        walk.note("params.block_size", "hyperparameters.max_seq_length (auto: the default)")
    else:
        walk.put("params.block_size", f"options.{PROVIDER}.block_size", value)


def _pass_on(walk: Walk, key: str, value: Any) -> None:
    """Handed to the trainer under its own name; the plan refuses what the trainer does not know."""
    name = key.removeprefix("params.")
    walk.put(key, f"options.{PROVIDER}.{name}", None if value in ("none", "None") else value)
