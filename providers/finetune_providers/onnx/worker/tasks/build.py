# pyright: basic, reportMissingImports=false
"""onnxruntime-genai's model builder: a transformers model in, a package of one precision out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import common, graph, lean


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the package to `out`."""
    from onnxruntime_genai.models.builder import create_model, parse_extra_options  # noqa: PLC0415 - seconds, prints

    place = (None, orders["model"], orders["out"], orders["precision"], orders["device"], orders["cache"])
    try:
        settings = parse_extra_options(*place, [f"{name}={value}" for name, value in orders["extra"].items()])
        with lean.k_quant():
            create_model(*place, **settings)
    except NotImplementedError as exc:
        raise child.Failed(
            f"onnxruntime-genai's model builder does not have this architecture: {exc} "
            "docs/onnx.md lists those it has; classifiers are exported with method: classification."
        ) from exc
    except (ValueError, KeyError) as exc:
        reason = " ".join(str(exc).split())[:400]
        raise child.Failed(f"the model builder refuses {orders['name']}: {type(exc).__name__}: {reason}") from exc
    if not (Path(orders["out"]) / "genai_config.json").is_file():
        raise child.Failed(f"the model builder ended without a package for {orders['name']}; see worker.log")
    if orders["embeddings_block"] is not None:
        graph.eight_bit_embeddings(Path(orders["out"]), orders["embeddings_block"])
    common.settle(Path(orders["out"]))
    return {"peak_memory_bytes": common.peak_memory_bytes()}
