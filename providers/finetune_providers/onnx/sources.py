"""What goes with what: a source with training knobs, adapters with merging, a method with the model's kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from finetune_providers.onnx import models
from finetune_providers.onnx.options import OnnxOptions
from finetune_providers.peft import models as peft_models
from finetune_providers.peft.models import TINY
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import demands
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import DataFile, Finding

_ASKABLE = ("sft", "pretraining", "classification")
_FEW_ROWS = 8
"""Below this a tolerance says little: one answer more or less moves every share by more than a tenth."""


def agree(spec: JobSpec, options: OnnxOptions) -> None:
    """Raise `SpecError` for settings that contradict one another or would be ignored."""
    if options.engine == "olive":
        raise Unsupported("onnx", "`engine: olive` (not written yet)", "Use the default engine; see docs/onnx.md.")
    if options.source is not None:
        _nothing_to_train(spec)
    if options.adapters and options.merge:
        raise SpecError("options.onnx.adapters: several adapters over one base need `merge: false`")
    if not options.merge:
        _something_apart(spec, options)
    if not options.merge and spec.method.kind == "classification":
        raise SpecError("options.onnx.merge: a classifier's head is part of its adapter; it can only be merged")


def _nothing_to_train(spec: JobSpec) -> None:
    ignored = [key for key in demands(spec) if key.startswith(("hyperparameters.", "adapter.", "report_to"))]
    if ignored:
        raise SpecError(
            f"options.onnx.source exports what is finished, so nothing is trained: remove {', '.join(ignored)}"
        )
    if spec.method.kind not in _ASKABLE:
        raise SpecError(
            f"method: with options.onnx.source the rows are asked, not learned; use {', '.join(_ASKABLE)}, "
            f"not {spec.method.kind}"
        )


def _something_apart(spec: JobSpec, options: OnnxOptions) -> None:
    """Kept apart can only be a plain LoRA adapter: the builder has room for nothing else."""
    if options.source is None:
        if spec.adapter is not None and demands(spec).count("adapter.lora") == 0:
            raise SpecError(f"options.onnx.merge: false needs a lora adapter, not {spec.adapter.kind}")
        if spec.model_id == TINY:
            raise SpecError(f"options.onnx.merge: {TINY} also trains its embeddings, so its adapter can only be merged")
    elif not options.adapters and not (Path(options.source).expanduser() / "adapter_config.json").is_file():
        raise SpecError("options.onnx.merge: false has no adapter to keep apart; give options.onnx.adapters")


def settled(options: OnnxOptions) -> OnnxOptions:
    """The options with paths that hold anywhere, and files that exist."""
    custom = None if options.custom is None else Path(options.custom).expanduser().absolute()
    if custom is not None and not custom.is_file():
        raise SpecError(f"options.onnx.custom: there is no file {options.custom!r}")
    given = {name: str(Path(path).expanduser().absolute()) for name, path in options.adapters.items()}
    return options.model_copy(update={"custom": None if custom is None else str(custom), "adapters": given})


def for_peft(spec: JobSpec, options: OnnxOptions) -> JobSpec:
    """The training part of the job, as the peft provider understands it. The whole job's time is watched elsewhere."""
    shared = {
        "trust_remote_code": options.trust_remote_code,
        "local_files_only": options.local_files_only,
        "merge": spec.method.kind == "classification",
        **({} if options.revision is None else {"revision": options.revision}),
        **({} if options.chat_template is None else {"chat_template": options.chat_template}),
    }
    return spec.model_copy(
        update={
            "provider": "peft",
            "model": spec.model_id,
            "options": {"peft": {**shared, **spec.options.get("peft", {})}},
            "budget": spec.budget.model_copy(update={"max_hours": None}),
        }
    )


def kind(spec: JobSpec, model: str) -> models.Kind:
    """What is exported. Raises `SpecError` when method and model do not agree, or the builder lacks the model."""
    wanted: models.Kind = "classifier" if spec.method.kind == "classification" else "causal"
    if wanted == "causal":
        if models.kind_of(model) == "classifier":
            raise SpecError(f"method: {model} is a classifier; set method: classification and give labelled rows")
        models.check_architecture(model)
    return wanted


def findings(options: OnnxOptions, kind: models.Kind, model: str, files: Sequence[DataFile]) -> Iterator[Finding]:
    """What is to be known about the rows that are asked, and about the tokenizer."""
    rows = {file.role: file for file in files}
    asked = rows.get("test") or rows.get("validation") or rows.get("train")
    if asked is not None and asked.rows < _FEW_ROWS:
        yield Finding(
            rule="onnx-few-rows",
            severity="warning",
            message=f"only {asked.rows} row(s) to compare the package with PyTorch on",
            fix=f"Hold out at least {_FEW_ROWS}: data.test, such as 0.1.",
            file=asked.source,
        )
    if kind == "causal" and model != TINY and options.chat_template is None and peft_models.lacks_chat_template(model):
        yield Finding(
            rule="onnx-no-chat-template",
            severity="warning",
            message=f"the tokenizer in {model} has no chat template: the package can continue texts, not chat",
            fix="Set options.onnx.chat_template to a Jinja template or its path.",
        )


def doubts(options: OnnxOptions, source: models.Source) -> Iterator[str]:
    """Notes about a source."""
    what = f"the adapter over {source.base}" if source.kind == "adapter" else "the model"
    yield f"onnx: exporting {what}; nothing is trained"
    if options.revision is not None:
        yield f"onnx: revision {options.revision}"
