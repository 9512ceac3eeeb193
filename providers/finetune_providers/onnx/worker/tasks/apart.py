# pyright: basic, reportMissingImports=false
"""One base model with room for adapters, and a file per adapter: built, opened, written.

The builder is given an adapter of rank 1 over every layer that any of the adapters touches; its matrices then become
inputs of the graph, of any rank, that default to nothing. An adapter's file names the ones it fills.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from peft import LoraConfig, PeftConfig, get_peft_model

from . import build, common, loading, merge

_GROUPS = {"self_attn": "attn", "mlp": "mlp"}
"""How the builder calls transformers' groups of layers."""


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the package with `adapters/<name>.onnx_adapter` to `out`."""
    out = Path(orders["out"])
    tensors = {name: dict(_tensors(child, name, path, orders)) for name, path in orders["adapters"].items()}
    places = sorted({key.rsplit(".lora_", 1)[0] for found in tensors.values() for key in found})
    room = Path(orders["cache"]).parent / "room"
    _room(child, orders, places, room)
    extra = {**orders["extra"], "adapter_path": str(room)}
    if orders["precision"] in ("int4", "int8"):
        extra["nodes_to_exclude"] = ",".join(
            f"/{place.replace('.', '/')}".replace("layers/", "layers.") for place in _nodes(places)
        )
    build.run(child, {**orders, "extra": extra})
    _open(out / "model.onnx")
    (out / "adapters").mkdir()
    for name, found in tensors.items():
        _write(out / "adapters" / f"{name}.onnx_adapter", found)
    return {"peak_memory_bytes": common.peak_memory_bytes()}


def _nodes(places: list[str]) -> list[str]:
    return [f"{place}.lora_{letter}.MatMul" for place in places for letter in "AB"]


def _tensors(child: Any, name: str, path: str, orders: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The adapter's matrices by the builder's names, its scale in the second one."""
    config = PeftConfig.from_pretrained(path)
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    extras = [field for field in ("use_dora", "lora_bias", "modules_to_save") if getattr(config, field, None)]
    if kind != "LORA" or extras:
        what = f"it uses {', '.join(extras)}" if extras else f"it is {kind}"
        raise child.Failed(f"the adapter {name!r} cannot be kept apart: {what}. Only plain LoRA can; merge it instead.")
    tuned = merge.attach(child, loading.model(child, orders["model"], orders), path, orders["model"])
    for module_name, module in tuned.base_model.model.named_modules():
        if not hasattr(module, "lora_A") or "default" not in module.lora_A:
            continue
        place = _place(child, name, module_name)
        scale = module.scaling["default"]
        yield f"{place}.lora_A.MatMul.weight", _array(module.lora_A["default"].weight.T)
        yield f"{place}.lora_B.MatMul.weight", _array(module.lora_B["default"].weight.T * scale)


def _array(tensor: Any) -> Any:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _place(child: Any, name: str, module: str) -> str:
    """`model.layers.0.self_attn.q_proj` as the builder calls it."""
    parts = module.split(".")
    if len(parts) != 5 or parts[1] != "layers" or parts[3] not in _GROUPS:
        raise child.Failed(f"the adapter {name!r} changes {module}; kept apart, it may only change layers' projections")
    parts[3] = _GROUPS[parts[3]]
    return ".".join(parts)


def _room(child: Any, orders: dict[str, Any], places: list[str], folder: Path) -> None:
    """An adapter of rank 1 over all places, so that the builder leaves nodes for them."""
    targets = sorted({place.rsplit(".", 1)[1] for place in places})
    model = loading.model(child, orders["model"], orders)
    get_peft_model(model, LoraConfig(r=1, target_modules=targets)).save_pretrained(str(folder))


def _open(file: Path) -> None:
    """Turn the adapter's constants into inputs of any rank with an empty default."""
    model = onnx.load(str(file), load_external_data=False)
    graph = model.graph
    found = [one for one in graph.initializer if ".lora_A." in one.name or ".lora_B." in one.name]
    for tensor in found:
        first = ".lora_A." in tensor.name
        dims = [tensor.dims[0], 0] if first else [0, tensor.dims[1]]
        shape = [tensor.dims[0], "lora_r"] if first else ["lora_r", tensor.dims[1]]
        name, kind = tensor.name, tensor.data_type
        graph.initializer.remove(tensor)
        graph.initializer.append(helper.make_tensor(name, kind, dims, b"", raw=True))
        graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    kept = [info for info in graph.value_info if "/lora_" not in info.name]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    onnx.save(model, str(file))


def _write(file: Path, tensors: dict[str, Any]) -> None:
    format_ = onnxruntime.AdapterFormat()
    format_.set_adapter_version(1)
    format_.set_model_version(1)
    made = {
        name: onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(value, TensorProto.FLOAT)
        for name, value in tensors.items()
    }
    format_.set_parameters(made)
    format_.export_adapter(str(file))
