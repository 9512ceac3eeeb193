"""`engine: olive`: what its tasks are told beside what every task is told, and what their stages depend on."""

from __future__ import annotations

from typing import Any

from . import children
from .stages import digest

CALIBRATED = (
    "Gptq", "GptqModel", "GptqQuantizer", "OnnxStaticQuantization", "IncStaticQuantization", "AutoClip",
    "AutoAWQQuantizer", "SparseGPT", "SliceGPT", "SelectiveMixedPrecision",
)  # fmt: skip
"""Passes that look at rows; they get the job's own."""


def training(flow: Any, *, key: bool = False) -> dict[str, Any]:
    """For the task that trains, or (`key`) what its stage depends on; empty with another engine."""
    told = flow.export["olive"]
    if told is None:
        return {}
    if key:
        return {"olive": told["train"]}
    names = ("device", "kind", "trust_remote_code")
    return {"pass": told["train"], "scratch": _scratch(flow, "train"), **{name: flow.export[name] for name in names}}


def building(flow: Any, candidate: dict[str, Any]) -> dict[str, Any]:
    """For the task that makes a package."""
    return {
        "run": flow.export["olive"]["run"],
        "scratch": _scratch(flow, candidate["name"]),
        "train_rows": str(_rows(flow)),
        "calibration_rows": flow.export["calibration_rows"],
        "calibrated": CALIBRATED,
        "calibrates": any(one["type"] in CALIBRATED for one in candidate["passes"].values()),
    }


def building_key(flow: Any) -> dict[str, Any]:
    """What a package depends on beside its own passes."""
    told = flow.export["olive"]
    if told is None:
        return {}
    rows = {"rows": digest(_rows(flow)), "count": flow.export["calibration_rows"]} if told["calibrates"] else {}
    return {"run": told["run"], **rows}


def check(flow: Any) -> None:
    """Have Olive judge what the user gave, before anything is done."""
    told = flow.export["olive"]
    if told is None or not told["given"]:
        return
    source = flow.export["source"]
    model = flow.request["train"]["model"] if source is None else source["base"] or source["path"]
    chains = [candidate["passes"] for candidate in flow.export["candidates"]]
    orders = {**flow.orders(), "model": model, "run": told["run"], "chains": chains, "train": told["train"]}
    children.run(flow.ctx, "olive_check", orders, heavy=True)


def _rows(flow: Any) -> Any:
    return flow.ctx.dir / "data" / "train.jsonl"


def _scratch(flow: Any, name: str) -> str:
    return str(flow.ctx.dir / "scratch" / f"olive-{name}")
