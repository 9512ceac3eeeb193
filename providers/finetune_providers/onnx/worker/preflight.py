# pyright: basic, reportMissingImports=false
"""What can be known before the first step: is the execution provider installed, is there room."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from . import olive, room

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "trt-rtx": "NvTensorRTRTXExecutionProvider",
}
"""onnxruntime's names, as `onnxruntime.get_available_providers()` gives them (1.31, read 2026-11-21)."""


def check(flow: Any) -> None:
    """Fail now instead of after the training."""
    ctx, export = flow.ctx, flow.export
    if importlib.util.find_spec("onnxruntime") is None:
        raise ctx.Failed("onnxruntime is not installed in the worker's interpreter; use compute.environment: managed")
    import onnxruntime  # noqa: PLC0415 - after the environment variables that silence it

    there = onnxruntime.get_available_providers()
    wanted = PROVIDERS[export["device"]]
    if wanted not in there:
        raise ctx.Failed(
            f"options.onnx.device is {export['device']!r}, but {wanted} is not installed here "
            f"(onnxruntime {onnxruntime.__version__} has {', '.join(there)}). A package counts once it has generated "
            "a token: export on a machine with that provider, or choose device: cpu."
        )
    olive.check(flow)
    for folder in _known_models(flow):
        if (fp32 := room.model_bytes_fp32(folder)) is not None:
            lowest = min((one["precision"] for one in export["candidates"]), key=lambda name: room.SHARES[name])
            room.check(ctx, room.needed(fp32, [lowest], merges=False))


def _known_models(flow: Any) -> list[Path]:
    source = flow.export["source"]
    names = [flow.request["train"]["model"]] if source is None else [source["base"] or source["path"]]
    return [path for name in names if (path := Path(name)).is_dir()]
