"""What goes with what: a source with training knobs, adapters with merging, a method with the model's kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from finetune_providers.onnx import map as mapping
from finetune_providers.onnx import models
from finetune_providers.onnx.options import OnnxOptions
from finetune_providers.peft import models as peft_models
from finetune_providers.peft.models import TINY
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.provider import demands
from finetune_sdk.spec import JobSpec
from finetune_sdk.types import DataFile, Finding

_ASKABLE = ("sft", "pretraining", "classification")
CALIBRATION_ROWS = 32
"""A quarter of the 128 that Olive's own default data has; with fewer, a layer's inputs are guessed from a few texts."""
_FEW_ROWS = 8
"""Below this a tolerance says little: one answer more or less moves every share by more than a tenth."""


def agree(spec: JobSpec, options: OnnxOptions) -> None:
    """Raise `SpecError` for settings that contradict one another or would be ignored."""
    _engine(spec, options)
    if options.source is not None:
        _nothing_to_train(spec)
    if options.adapters and options.merge:
        raise SpecError("options.onnx.adapters: several adapters over one base need `merge: false`")
    if not options.merge:
        _something_apart(spec, options)
    if not options.merge and spec.method.kind == "classification":
        raise SpecError("options.onnx.merge: a classifier's head is part of its adapter; it can only be merged")


def _engine(spec: JobSpec, options: OnnxOptions) -> None:
    if options.engine != "olive":
        wanted = options.search.algorithms if options.search is not None else (options.algorithm,)
        for name, used in (("olive", options.olive is not None), ("algorithm: gptq", "gptq" in wanted)):
            if used:
                raise SpecError(f"options.onnx.{name} needs `engine: olive` beside it")
        return
    if not options.merge:
        raise SpecError("options.onnx.merge: false keeps adapters apart with the default engine only")
    if options.source is None:
        for name, given in (
            ("packing: true", spec.hyperparameters.packing is True),
            ("early_stopping", spec.hyperparameters.early_stopping is not None),
        ):
            if given:
                raise Unsupported("onnx", f"`hyperparameters.{name}` with `engine: olive`", "Remove it.")


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
    whole_rows = {"packing": False} if options.engine == "olive" else {}
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
            "hyperparameters": spec.hyperparameters.model_copy(update=whole_rows),
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


def calibration(options: OnnxOptions, files: Sequence[DataFile]) -> Iterator[Finding]:
    """Too few rows for a quantiser that looks at them."""
    shown = next(file for file in files if file.role == "train")
    if shown.rows < CALIBRATION_ROWS:
        yield Finding(
            rule="onnx-few-calibration-rows",
            severity="error",
            message=f"{shown.rows} training row(s) to calibrate on; a quantiser that looks at data needs "
            f"{CALIBRATION_ROWS} at least, and is shown up to options.onnx.calibration_rows = "
            f"{options.calibration_rows}",
            fix=f"Give {CALIBRATION_ROWS - shown.rows} more, or choose an algorithm that needs none (k_quant, rtn).",
            file=shown.source,
        )


def findings(
    options: OnnxOptions, kind: models.Kind, model: str, files: Sequence[DataFile], request: Mapping[str, JsonValue]
) -> Iterator[Finding]:
    """What is to be known about the rows that are asked, and about the tokenizer."""
    if mapping.calibrated(request):
        yield from calibration(options, files)
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
