"""`options.onnx` of a job description: what only this provider understands."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, ValidationError, field_validator

from finetune_sdk.errors import SpecError
from finetune_sdk.spec import Count, Model, NonNegative, Positive

Precision = Literal["fp32", "fp16", "bf16", "int8", "int4"]
Algorithm = Literal["default", "rtn", "k_quant", "gptq"]
Device = Literal["cpu", "cuda", "dml", "webgpu", "trt-rtx"]
Ratio = Annotated[float, Field(ge=0, le=1)]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str | int) else value


class Tolerance(Model):
    """How far a package may be from the unquantised PyTorch model. None = not looked at."""

    max_logits_diff: NonNegative | None = None
    """Largest difference of any logit of the first token, on the held-out rows."""
    max_kl: NonNegative | None = None
    """Mean Kullback-Leibler divergence of the first token's distribution."""
    min_greedy_agreement: Ratio | None = None
    """Share of greedy tokens that are the same up to the first that differs."""
    min_first_token_agreement: Ratio | None = None
    max_perplexity_increase: NonNegative | None = 0.1
    """Relative: 0.1 allows 10 % more perplexity on the expected answers."""
    max_metric_drop: NonNegative | None = 0.05
    """Absolute drop of exact match (of accuracy for classifiers): 0.05 allows five answers in a hundred."""
    max_bytes_ratio: Positive | None = None
    """Size as a share of the model's weight files."""
    max_memory_ratio: Positive | None = None
    """Peak memory as a share of PyTorch's."""
    min_speedup: NonNegative | None = None
    """Tokens per second at batch 1, as a multiple of PyTorch eager on the same machine."""
    metrics: Mapping[str, NonNegative] = Field(default_factory=dict)
    """Allowed absolute drop of each metric of the `custom` file."""


class Search(Model):
    """Candidates are all combinations, in an order drawn from the seed, the usual choice first."""

    precisions: Annotated[tuple[Precision, ...], BeforeValidator(_listed)] = ("int4", "int8")
    block_sizes: Annotated[tuple[Literal[16, 32, 64, 128, 256], ...], BeforeValidator(_listed)] = (32, 128)
    algorithms: Annotated[tuple[Algorithm, ...], BeforeValidator(_listed)] = ("k_quant", "rtn")
    last_layer_int8: tuple[bool, ...] = (True, False)
    """Whether an int4 model keeps its last product in int8."""
    minutes: Positive | None = None
    """No further candidate is begun after that long; None = all are tried."""


class OnnxOptions(Model):
    """Settings of the onnx provider beyond the common ones."""

    engine: Literal["genai-builder", "olive"] = "genai-builder"
    source: str | None = None
    """Folder of a finished adapter or model: it is exported, nothing is trained."""
    precision: Annotated[
        Literal["auto"] | tuple[Precision, ...], BeforeValidator(lambda v: v if v == "auto" else _listed(v))
    ] = "auto"
    """"auto" = int4, else int8, else fp32: the first that keeps the tolerance. A list is compared as a whole."""
    device: Device = "cpu"
    """Where the package will run; its execution provider must be installed where it is made."""
    algorithm: Algorithm | Literal["auto"] = "auto"
    """How weights are quantised; "auto" = k_quant for int4, the builder's own for int8. gptq needs `engine: olive`."""
    block_size: Literal[16, 32, 64, 128, 256] = 128
    """Weights that share a scale: fewer are closer to the model, more are smaller and faster."""
    accuracy_level: Literal[1, 2, 3, 4] | Literal["auto"] = "auto"
    """What products are computed in: 1 fp32, 2 fp16, 3 bf16, 4 int8; "auto" = 4 on a CPU, else the builder's own."""
    last_layer_int8: bool = True
    """Keep the last, most sensitive product of an int4 model in int8."""
    quantize_embeddings: bool | Literal["auto"] = "auto"
    """Whether the table of embeddings of an int4 or int8 package is int8; "auto" = on a CPU. With `engine: olive`: true
    = as its builder does it, "auto" = no."""
    fallback: bool = True
    """When int4 breaks the tolerance, try int8."""
    merge: bool = True
    """False keeps adapters apart: one base model and a file per adapter, switched at run time."""
    adapters: Mapping[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], str] = Field(default_factory=dict)
    """Further adapter folders over the same base, by the name they are switched on with; needs `merge: false`."""
    tolerance: Tolerance = Tolerance()
    search: Search | None = None
    keep_all: bool = False
    """Keep every package that passes, not only the recommended one."""
    eval_rows: Count = 32
    """Held-out rows that are asked."""
    new_tokens: Count = 32
    """Tokens of each greedy answer; `evaluation.max_new_tokens` wins where it is set."""
    bench_prompt: Count = 128
    bench_new: Annotated[int, Field(ge=2)] = 32
    """Tokens in and out when speed is measured."""
    olive: str | Mapping[str, JsonValue] | None = None
    """Olive's run configuration, or changes to the one the job writes: a mapping, or a JSON or YAML file's path. Needs
    `engine: olive`."""
    calibration_rows: Annotated[int, Field(ge=32)] = 128
    """Training rows that quantisers which look at data (GPTQ, static) are shown; fewer than 32 are refused."""
    custom: str | None = None
    """A Python file with `loss(logits, labels)` and/or `metrics(rows)`; loaded in the worker only."""
    chat_template: str | None = None
    """A Jinja chat template, or the path of a file with one, instead of the tokenizer's."""
    trust_remote_code: bool = False
    revision: str | None = None
    local_files_only: bool = False

    @field_validator("search")
    @classmethod
    def _not_empty(cls, value: Search | None) -> Search | None:
        if value is not None and not all(
            (value.precisions, value.block_sizes, value.algorithms, value.last_layer_int8)
        ):
            raise ValueError("every list of a search needs at least one value")
        return value


def parse(given: Mapping[str, JsonValue]) -> OnnxOptions:
    """The validated options. Raises `SpecError` that names the key, with the nearest valid name for an unknown one."""
    try:
        return OnnxOptions.model_validate(dict(given))
    except ValidationError as exc:
        lines = [_sentence(error["loc"], error["type"], error["msg"]) for error in exc.errors()]
        raise SpecError("\n".join(dict.fromkeys(lines))) from None


def _sentence(place: tuple[int | str, ...], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in place)
    if kind != "extra_forbidden":
        return f"options.onnx.{name}: {message}"
    last = str(place[-1])
    known = sorted(_PARTS.get(str(place[0]) if len(place) > 1 else "", OnnxOptions).model_fields)
    near = difflib.get_close_matches(last, known, n=1)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    where = "options.onnx" + (f".{place[0]}" if len(place) > 1 else "")
    return f"{where} has no {last!r}. {hint}It has: {', '.join(known)}."


_PARTS: Mapping[str, type[Model]] = {"tolerance": Tolerance, "search": Search}
