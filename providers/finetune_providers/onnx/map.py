"""`JobSpec` and options -> the worker's request: pure translation, tables of what combines with what."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import msgspec
from pydantic import JsonValue

from finetune_providers.onnx.models import Kind, Source
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


class Candidate(msgspec.Struct, frozen=True):
    """One package to build."""

    name: str
    precision: Precision
    extra: dict[str, str]
    """The builder's own options."""


def request(
    spec: JobSpec, options: OnnxOptions, *, kind: Kind, source: Source | None, train: Mapping[str, JsonValue] | None
) -> tuple[dict[str, JsonValue], tuple[str, ...]]:
    """What `submit` writes for the worker, and the notes about what was chosen."""
    seed = int(spec.sha256[:8], 16) % 2**31 if spec.seed is None else spec.seed
    policy, found = candidates(options, kind, seed)
    asked = spec.evaluation
    export: dict[str, Any] = {
        **options.model_dump(mode="json", exclude={"source", "search", "precision", "eval_rows"}),
        "kind": kind,
        "source": None if source is None else asdict(source),
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
        "train": None if train is None else dict(train),
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
    return made, tuple(_notes(policy, found))


def _notes(policy: str, found: list[Candidate]) -> Iterator[str]:
    names = [one.name for one in found]
    if policy == "ladder" and len(names) > 1:
        yield f"onnx: {names[0]}; {', then '.join(names[1:])} when it breaks options.onnx.tolerance"
    if policy == "all":
        yield f"onnx: {len(names)} packages are built and compared: {', '.join(names)}"


def candidates(options: OnnxOptions, kind: Kind, seed: int) -> tuple[str, list[Candidate]]:
    """ "ladder" (the first that passes is taken) or "all" (the recommended of all that pass), and which."""
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
    extra: dict[str, str] = {}
    if precision in WEIGHT_ONLY:
        level = 4 if options.accuracy_level == "auto" and options.device == "cpu" else options.accuracy_level
        extra["algo_config"] = ("k_quant" if precision == "int4" else "default") if algorithm == "auto" else algorithm
        extra["block_size"] = str(block)
        extra |= {} if level == "auto" else {"accuracy_level": str(level)}
        extra |= {"matmul_mixed_precision": "last_matmul:int8"} if precision == "int4" and last else {}
        extra |= {"op_types_to_quantize": "MatMul/Gather"} if options.quantize_embeddings else {}
    if options.trust_remote_code:
        extra["hf_remote"] = "true"
    return Candidate(name=name, precision=precision, extra=extra)
