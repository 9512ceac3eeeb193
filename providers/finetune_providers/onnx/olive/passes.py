"""Olive's passes for our options: what trains, what converts, what quantises. Pure tables and translation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from finetune_providers.onnx.olive.settling import PLACE, TRAIN, Settled, needs_gpu
from finetune_providers.onnx.options import Precision
from finetune_sdk.deploy import olive
from finetune_sdk.errors import SpecError, Unsupported
from finetune_sdk.spec import JobSpec, LoRA

ALGORITHMS: Mapping[tuple[str, bool], str] = {
    ("default", False): "default",
    ("default", True): "rtn_last",
    ("rtn", False): "rtn",
    ("rtn", True): "rtn_last",
    ("k_quant", False): "k_quant",
    ("k_quant", True): "k_quant_last",
}
"""(algorithm, last layer in int8) -> `int4_algo_config` of the builder in onnxruntime-genai 0.14.1 (builder.py, read
2026-11-21)."""
CALIBRATED = ("Gptq", "GptqModel", "GptqQuantizer", "OnnxStaticQuantization", "IncStaticQuantization", "AutoClip",
              "AutoAWQQuantizer", "SparseGPT", "SliceGPT", "SelectiveMixedPrecision")  # fmt: skip
"""Passes that look at rows."""
_METHODS = ("sft", "pretraining")


def training(spec: JobSpec, settled: Settled) -> dict[str, Any]:
    """The pass that trains: the configuration's, else the one for the job's adapter. Parameters are filled in later.

    Raises `Unsupported` for what no pass of Olive's trains.
    """
    if spec.method.kind not in _METHODS:
        raise _refusal(f"`method.{spec.method.kind}`", f"It trains {', '.join(_METHODS)}.")
    found = dict(settled.train) if settled.train is not None else {"type": _kind(spec)}
    changes = settled.changes.get(TRAIN, {})
    olive.check_settings(str(found["type"]), changes, place=f"{PLACE}.passes.{TRAIN}")
    if needs_gpu(str(found["type"])) and spec.compute.device == "cpu":
        raise SpecError(
            f"{PLACE}: {found['type']} trains over a 4-bit base model, which needs a GPU; compute.device is cpu. "
            "Use LoRA (adapter.quantize: none), or a machine with a GPU."
        )
    return {**found, **changes}


def _kind(spec: JobSpec) -> str:
    adapter = LoRA() if spec.adapter is None else spec.adapter
    if not isinstance(adapter, LoRA):
        raise _refusal(f"`adapter.{adapter.kind}`", "It trains lora; LoHa and LoKr as options.onnx.olive.passes.train.")
    for name, wanted in (("init", "default"), ("rslora", False), ("modules_to_save", ())):
        if getattr(adapter, name) != wanted:
            raise _refusal(f"`adapter.lora.{name}`", f"Leave {name} as it is.")
    if adapter.quantize != "none":
        if adapter.quantize != "4bit" or adapter.dora:
            raise _refusal(f"`adapter.lora.quantize={adapter.quantize}`", "It trains LoRA over 4 bits, without dora.")
        return "QLoRA"
    return "DoRA" if adapter.dora else "LoRA"


def _refusal(what: str, remedy: str) -> Unsupported:
    return Unsupported(
        "onnx", f"{what} with `engine: olive`", f"{remedy} Or leave `engine` out: the peft worker trains."
    )


def builder(
    precision: str, algorithm: str, block: int, level: int | str, *, last: bool, embeddings: bool
) -> dict[str, Any]:
    """Passes that turn a language model into a package."""
    if precision == "int8":
        return {
            "builder": {"type": "ModelBuilder", "precision": "fp32"},
            "quantizer": {"type": "OnnxDynamicQuantization"},  # the builder of 0.14.1 answers int8 with a KeyError
        }
    if precision != "int4":
        return {"builder": {"type": "ModelBuilder", "precision": precision}}
    made: dict[str, Any] = {"type": "ModelBuilder", "precision": "int4", "int4_block_size": block}
    made |= {} if level == "auto" else {"int4_accuracy_level": level}
    if algorithm == "gptq":
        return {"gptq": {"type": "Gptq", "bits": 4, "group_size": block}, "builder": made}
    made["int4_algo_config"] = ALGORITHMS["k_quant" if algorithm == "auto" else algorithm, last]
    made |= {"int4_op_types_to_quantize": ["MatMul", "Gather"]} if embeddings else {}
    return {"builder": made}


def classifier(precision: str, model_type: str | None) -> dict[str, Any]:
    """Passes for a classifier: exported, fused, and for int8 quantised."""
    made: dict[str, Any] = {"conversion": {"type": "OnnxConversion", "target_opset": 20}}
    if model_type in ("bert", "distilbert", "roberta"):
        made["optimization"] = {"type": "OrtTransformersOptimization", "model_type": "bert"}
    if precision == "int8":
        made["quantizer"] = {"type": "OnnxDynamicQuantization"}
    return made


def changed(made: dict[str, Any], settled: Settled) -> dict[str, Any]:
    """The passes with the configuration's changes. Raises `SpecError` for parameters that a pass does not have."""
    found: dict[str, Any] = {}
    for name, one in made.items():
        changes = settled.changes.get(name, {})
        olive.check_settings(str(one["type"]), changes, place=f"{PLACE}.passes.{name}")
        found[name] = {**one, **changes}
    return found


def precision_of(chain: Mapping[str, Mapping[str, Any]]) -> Precision:
    """What a chain of the user's comes to, for the size that is reckoned and the name in the verdict."""
    found = "fp32"
    for one in chain.values():
        kind = str(one["type"])
        if kind == "ModelBuilder":
            found = str(one.get("precision", "fp32"))
        elif kind in ("OnnxFloatToFloat16", "OrtMixedPrecision"):
            found = "fp16"
        elif "Quantization" in kind and kind.startswith(("Onnx", "Inc")):
            four = str(one.get("precision", one.get("bits", ""))) in ("int4", "uint4", "4") or kind in _FOUR_BITS
            found = "int4" if four else "int8"
    return next((known for known in get_args(Precision) if known == found), "fp32")


_FOUR_BITS = ("OnnxBlockWiseRtnQuantization", "OnnxBnb4Quantization", "OnnxHqqQuantization", "OnnxKQuantQuantization")


def calibrates(chain: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether some pass looks at rows."""
    return any(one["type"] in CALIBRATED for one in chain.values())
