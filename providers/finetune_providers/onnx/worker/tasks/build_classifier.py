# pyright: basic, reportMissingImports=false
"""A classifier as ONNX: exported by torch, batch and length left open; int8 by onnxruntime's dynamic quantisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from . import common, loading

_OPSET = 20
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Scores(torch.nn.Module):
    """The model with the inputs its tokenizer makes, in order, and its scores."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """`[rows, labels]`."""
        extra = {"use_cache": False} if hasattr(self.model.config, "use_cache") else {}
        return self.model(**dict(zip(self.names, tensors, strict=True)), **extra).logits


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes model and tokenizer to `out`."""
    out = Path(orders["out"])
    model = loading.model(child, orders["model"], orders)
    tokenizer = loading.tokenizer(child, orders, orders["model"])
    names = [name for name in _INPUTS if name in tokenizer.model_input_names]
    file = out / "model.onnx"
    try:
        _export(model, tokenizer, names, file)
    except (torch.onnx.OnnxExporterError, NotImplementedError) as exc:
        reason = " ".join(str(exc).split())[:300]
        raise child.Failed(f"torch cannot export this classifier ({type(model).__name__}) to ONNX: {reason}") from exc
    if orders["precision"] == "int8":
        _quantise(file)
    tokenizer.save_pretrained(out)
    model.config.save_pretrained(out)
    return {"peak_memory_bytes": common.peak_memory_bytes()}


def _export(model: Any, tokenizer: Any, names: list[str], file: Path) -> None:
    example = tokenizer(["a text", "another, longer text to see both sizes move"], padding=True, return_tensors="pt")
    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    torch.onnx.export(
        Scores(model, names).eval(),
        tuple(example[name] for name in names),
        str(file),
        input_names=names,
        output_names=["logits"],
        dynamic_shapes=((sizes,) * len(names),),
        opset_version=_OPSET,
        dynamo=True,
        external_data=model.num_parameters() * 4 > 1 << 30,  # one file holds at most two gigabytes
        verbose=False,
    )


def _quantise(file: Path) -> None:
    """The exporter's shapes contradict the quantiser's; without them it works them out itself."""
    model = onnx.load(str(file))
    del model.graph.value_info[:]
    whole = file.with_name("whole.onnx")
    onnx.save(model, str(whole))
    for old in file.parent.glob(f"{file.name}*"):
        old.unlink()
    quantize_dynamic(str(whole), str(file), weight_type=QuantType.QInt8)
    whole.unlink()
