"""`JobSpec` and options -> the worker's request: pure translation, tables of what combines with what."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from pydantic import JsonValue

from finetune_providers.onnx.models import Kind, Source
from finetune_providers.onnx.olive import passes as olive
from finetune_providers.onnx.olive.settling import NOTHING, PLACE, TRAIN, Settled
from finetune_providers.onnx.options import OnnxOptions, Precision, Search
from finetune_sdk.errors import SpecError
from finetune_sdk.spec import JobSpec

RUNS: Mapping[str, tuple[Precision, ...]] = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp32", "fp16", "bf16", "int8", "int4"),
    "dml": ("fp16", "int4"),
    "webgpu": ("int8", "int4"),
    "trt-rtx": ("fp16", "bf16"),
}
"""Precisions by device, as onnxruntime_genai/models/builder.py lists them (0.18.0, read 2026-11-21). It writes fp16
for a CPU, and generating then fails at the second token (measured; onnxruntime-genai issue 2009)."""
LADDER: Mapping[str, tuple[Precision, ...]] = {
    "cpu": ("int4", "int8", "fp32"),
    "cuda": ("int4", "int8", "fp16"),
    "dml": ("int4", "fp16"),
    "webgpu": ("int4", "int8"),
    "trt-rtx": ("fp16",),
}
"""What "auto" tries, smallest first."""
CLASSIFIER: tuple[Precision, ...] = ("int8", "fp32")
"""What a classifier can be on a CPU."""
WEIGHT_ONLY = ("int4", "int8")
_EMBEDDINGS_BLOCK = 32
"""A table in int8 has few scales beside it, and rows of any usual width are whole blocks."""


class Candidate(msgspec.Struct, frozen=True):
    """One package to build."""

    name: str
    precision: Precision
    extra: dict[str, str]
    """The builder's own options."""
    passes: dict[str, Any] = {}
    """Olive's passes, where that is the engine."""
    embeddings_block: int | None = None
    """Values that share a scale where the table of embeddings is rewritten in int8; None = it stays as built."""


def request(
    spec: JobSpec,
    options: OnnxOptions,
    *,
    kind: Kind,
    source: Source | None,
    train: Mapping[str, JsonValue] | None,
    settled: Settled = NOTHING,
    model_type: str | None = None,
) -> tuple[dict[str, JsonValue], tuple[str, ...]]:
    """What `submit` writes for the worker, and the notes about what was chosen."""
    seed = int(spec.sha256[:8], 16) % 2**31 if spec.seed is None else spec.seed
    policy, found = candidates(options, kind, seed, settled=settled, model_type=model_type)
    asked = spec.evaluation
    export: dict[str, Any] = {
        **options.model_dump(mode="json", exclude={"source", "search", "precision", "eval_rows", "olive"}),
        "kind": kind,
        "source": None if source is None else asdict(source),
        "olive": _olive(spec, options, settled, found, trains=train is not None),
        "policy": policy,
        "candidates": [msgspec.to_builtins(one) for one in found],
        "minutes": None if options.search is None else options.search.minutes,
        "rows": options.eval_rows,
        "prompts": [] if asked is None else list(asked.prompts),
        "predictions": asked is not None,
        "new_tokens": options.new_tokens if asked is None else asked.max_new_tokens,
        "max_length": 2048 if spec.hyperparameters.max_seq_length == "auto" else spec.hyperparameters.max_seq_length,
    }
    made: dict[str, JsonValue] = {
        "train": None if train is None else _trained(train, options),
        "export": export,
        "method": {"kind": spec.method.kind},
        "compute": spec.compute.model_dump(mode="json"),
        "data": spec.data.model_dump(mode="json"),
        "evaluation": None if asked is None else asked.model_dump(mode="json"),
        "seed": seed,
        "suffix": spec.suffix,
        "metadata": dict(spec.metadata),
        "budget_max_hours": spec.budget.max_hours,
        "spec_sha256": spec.sha256,
        "sdk_version": version("finetune-sdk"),
    }
    return made, (*settled.notes, *_notes(policy, found))


def _trained(train: Mapping[str, JsonValue], options: OnnxOptions) -> dict[str, JsonValue]:
    """The peft worker's request. Olive's passes train no layer in full beside the adapter (0.13 refuses the names)."""
    adapter = train["adapter"]
    if options.engine != "olive" or not isinstance(adapter, dict):
        return dict(train)
    return {**train, "adapter": {**adapter, "modules_to_save": []}}


def _olive(
    spec: JobSpec, options: OnnxOptions, settled: Settled, found: list[Candidate], *, trains: bool
) -> dict[str, Any] | None:
    """What the worker tells Olive beside each package's passes; None = another engine."""
    if options.engine != "olive":
        return None
    used = {*itertools.chain(*(one.passes for one in found)), *((TRAIN,) if trains else ())}
    if unused := sorted(set(settled.changes) - used):
        names = ", ".join(sorted(used))
        raise SpecError(f"{PLACE}.passes.{unused[0]}: this job has no such pass to change; it has {names}")
    if settled.train is not None and not trains:
        raise SpecError(
            f"{PLACE}.passes: {settled.train['type']} trains, and options.onnx.source exports what is finished"
        )
    return {
        "train": olive.training(spec, settled) if trains else None,
        "run": dict(settled.run),
        "given": bool(settled.chain or settled.changes or settled.run or settled.train),
        "calibrates": any(olive.calibrates(one.passes) for one in found),
    }


def _notes(policy: str, found: list[Candidate]) -> Iterator[str]:
    names = [one.name for one in found]
    if policy == "ladder" and len(names) > 1:
        yield f"onnx: {names[0]}; {', then '.join(names[1:])} when it breaks options.onnx.tolerance"
    if policy == "all":
        yield f"onnx: {len(names)} packages are built and compared: {', '.join(names)}"


def candidates(
    options: OnnxOptions, kind: Kind, seed: int, *, settled: Settled = NOTHING, model_type: str | None = None
) -> tuple[str, list[Candidate]]:
    """ "ladder" (the first that passes is taken) or "all" (the recommended of all that pass), and which."""
    if settled.chain:
        return "ladder", [_given(options, settled)]
    policy, found = _candidates(options, kind, seed)
    if options.engine != "olive":
        return policy, found
    if kind == "classifier":
        found = [msgspec.structs.replace(one, passes=olive.classifier(one.precision, model_type)) for one in found]
    return policy, [msgspec.structs.replace(one, passes=olive.changed(one.passes, settled)) for one in found]


def _given(options: OnnxOptions, settled: Settled) -> Candidate:
    """The one package that the configuration's own passes make."""
    if options.precision != "auto" or options.search is not None:
        raise SpecError(f"{PLACE}.passes say what is built: remove options.onnx.precision and search, or the passes")
    chain = {name: dict(one) for name, one in settled.chain.items()}
    return Candidate(name="olive", precision=olive.precision_of(chain), extra={}, passes=chain)


def _candidates(options: OnnxOptions, kind: Kind, seed: int) -> tuple[str, list[Candidate]]:
    runs = tuple(reversed(CLASSIFIER)) if kind == "classifier" else RUNS[options.device]
    if options.search is not None:
        if options.precision != "auto":
            raise SpecError("options.onnx: set `search.precisions` or `precision`, not both")
        _allowed(options.search.precisions, runs, options, kind)
        return "all", _searched(options, seed)
    if options.precision == "auto":
        order = CLASSIFIER if kind == "classifier" else LADDER[options.device]
        return "ladder", [_usual(options, precision) for precision in order]
    _allowed(options.precision, runs, options, kind)
    wanted = options.precision
    if len(wanted) > 1:
        return "all", [_usual(options, precision) for precision in dict.fromkeys(wanted)]
    steps: list[Precision] = [*wanted]
    if wanted == ("int4",) and options.fallback and "int8" in runs:
        steps.append("int8")
    return "ladder", [_usual(options, precision) for precision in steps]


def _allowed(wanted: tuple[Precision, ...], runs: tuple[Precision, ...], options: OnnxOptions, kind: Kind) -> None:
    wrong = [precision for precision in wanted if precision not in runs]
    if wrong:
        what = "a classifier" if kind == "classifier" else f"device {options.device}"
        raise SpecError(f"options.onnx.precision: {', '.join(wrong)} does not run on {what}; it has {', '.join(runs)}")


def _usual(options: OnnxOptions, precision: Precision) -> Candidate:
    algorithm = options.algorithm if precision in WEIGHT_ONLY else "auto"
    return _candidate(options, precision, algorithm, options.block_size, last=options.last_layer_int8, name=precision)


def _searched(options: OnnxOptions, seed: int) -> list[Candidate]:
    """All combinations that differ, the first as listed, the others in an order drawn from the seed."""
    search = options.search or Search()
    made: dict[str, Candidate] = {}
    for precision, block, algorithm, last in itertools.product(
        search.precisions, search.block_sizes, search.algorithms, search.last_layer_int8
    ):
        name: str = precision
        if precision in WEIGHT_ONLY:
            name = f"{precision}-{algorithm}-{block}" + ("-last8" if last and precision == "int4" else "")
        made.setdefault(name, _candidate(options, precision, algorithm, block, last=last, name=name))
    first, *rest = made.values()
    random.Random(seed).shuffle(rest)  # noqa: S311 - repeatable is the point
    return [first, *rest]


def _candidate(
    options: OnnxOptions, precision: Precision, algorithm: str, block: int, *, last: bool, name: str
) -> Candidate:
    level = 4 if options.accuracy_level == "auto" and options.device == "cpu" else options.accuracy_level
    if options.engine == "olive":
        embeddings = options.quantize_embeddings is True
        made = olive.builder(precision, algorithm, block, level, last=last, embeddings=embeddings)
        return Candidate(name=name, precision=precision, extra={}, passes=made)
    extra: dict[str, str] = {}
    if precision in WEIGHT_ONLY:
        extra["algo_config"] = ("k_quant" if precision == "int4" else "default") if algorithm == "auto" else algorithm
        extra["block_size"] = str(block)
        extra |= {} if level == "auto" else {"accuracy_level": str(level)}
        extra |= {"matmul_mixed_precision": "last_matmul:int8"} if precision == "int4" and last else {}
    if options.trust_remote_code:
        extra["hf_remote"] = "true"
    eight = precision in WEIGHT_ONLY and options.device == "cpu" and options.quantize_embeddings is not False
    return Candidate(name=name, precision=precision, extra=extra, embeddings_block=_EMBEDDINGS_BLOCK if eight else None)


def engine(request: Mapping[str, JsonValue]) -> str:
    """The engine that a request asks for."""
    return msgspec.convert(dict(request), _Sent).export.engine


def engine_of_job(folder: Path) -> str | None:
    """The engine of a job that was started; None where there is none in the folder."""
    try:
        return msgspec.json.decode((folder / "spec.json").read_bytes(), type=_Started).request.export.engine
    except FileNotFoundError:
        return None


def calibrated(request: Mapping[str, JsonValue]) -> bool:
    """Whether some package needs rows to be quantised."""
    told = msgspec.convert(dict(request), _Sent).export.olive
    return told is not None and told.calibrates


class _Olive(msgspec.Struct):
    calibrates: bool


class _Export(msgspec.Struct):
    engine: str
    olive: _Olive | None = None


class _Sent(msgspec.Struct):
    export: _Export


class _Started(msgspec.Struct):
    request: _Sent
