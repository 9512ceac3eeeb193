# pyright: basic, reportMissingImports=false
"""Olive's passes: a transformers model in, a package out. Which one of a search is taken, Olive's evaluator decides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from . import common, lean, loading, olive_runs

_OLIVES = ("footprint.json", "output_footprint.json", "run_history.txt", "model_config.json", "metrics.json")
_ROWS = "finetune_calibration"


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the package to `out`; answers what Olive's own records say of it."""
    passes = {name: dict(one) for name, one in orders["passes"].items()}
    if orders["calibrates"]:
        calibrate(child, orders, passes)
    config = olive_runs.configuration(orders, orders["model"], passes, orders["run"])
    with lean.k_quant():
        output = olive_runs.run(child, config, Path(orders["scratch"]))
    best = output.get_best_candidate() or output.get_output_models()[0]
    place = Path(best.model_path)
    out = Path(orders["out"])
    shutil.copytree(place if place.is_dir() else place.parent, out, dirs_exist_ok=True)
    told = _records(out)
    for name in _OLIVES:
        (out / name).unlink(missing_ok=True)
    _completed(child, orders, out)
    shutil.rmtree(orders["scratch"], ignore_errors=True)
    return {"peak_memory_bytes": common.peak_memory_bytes(), "olive": {**told, "metrics": best.metrics_value}}


def calibrate(child: Any, orders: dict[str, Any], passes: dict[str, Any]) -> None:
    """Give the rows to every pass that looks at some. Too few tokens for a layer's inputs determine nothing."""
    import torch  # noqa: PLC0415 - loaded by now

    tokenizer = loading.tokenizer(child, orders, orders["model"])
    samples = olive_runs.rows(orders, tokenizer, orders["calibration_rows"])
    tokens = sum(len(sample["input_ids"]) for sample in samples)
    width = _widest(Path(orders["model"]))
    if tokens < width:
        short = f"{tokens} tokens in {len(samples)} rows"
        raise child.Failed(
            f"{orders['name']}: the calibration set is too small: {short}, but a layer has {width} inputs, and fewer "
            f"tokens than that determine nothing. Give {width} tokens at least (about "
            f"{-(-width * len(samples) // max(1, tokens))} such rows), or use an algorithm that needs none."
        )
    child.event(f"{orders['name']}: calibrating on {len(samples)} rows", rows=float(len(samples)), tokens=float(tokens))
    made = [
        ({"input_ids": torch.tensor(one["input_ids"]), "attention_mask": torch.ones(len(one["input_ids"])).long()}, 0)
        for one in samples
    ]
    data = olive_runs.register(_ROWS, made)
    for one in passes.values():
        if one["type"] in orders["calibrated"]:
            one.setdefault("data_config", data)


def _widest(model: Path) -> int:
    """The most inputs that a layer of the model has."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    return max(int(config.get(name) or 0) for name in ("hidden_size", "intermediate_size", "ffn_dim", "dim"))


def _records(out: Path) -> dict[str, Any]:
    """Every pass that ran, as Olive wrote it down: seconds, and what its evaluator measured."""
    try:
        nodes = json.loads((out / "footprint.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    done = [node for node in nodes.values() if isinstance(node, dict) and node.get("from_pass")]
    return {
        "runs": [
            {"pass": node["from_pass"], "seconds": node["end_time"] - node["start_time"], "metrics": node["metrics"]}
            for node in done
        ]
    }


def _completed(child: Any, orders: dict[str, Any], out: Path) -> None:
    """What a package has beside its graph, where Olive left it out; fails when it is no package then."""
    if not (out / "tokenizer.json").is_file():
        loading.tokenizer(child, orders, orders["model"]).save_pretrained(out)
    if not (out / "config.json").is_file() and (Path(orders["model"]) / "config.json").is_file():
        shutil.copy2(Path(orders["model"]) / "config.json", out)
    if orders["kind"] == "causal" and not (out / "genai_config.json").is_file():
        raise child.Failed(
            f"{orders['name']}: these passes leave a graph that onnxruntime-genai cannot load (there is no "
            "genai_config.json): begin with ModelBuilder"
        )
    if orders["kind"] == "causal":
        common.settle(out)
    if not (out / "model.onnx").is_file():
        raise child.Failed(
            f"{orders['name']}: these passes left no model.onnx; there is {sorted(p.name for p in out.iterdir())}"
        )
