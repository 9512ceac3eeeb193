# pyright: basic, reportMissingImports=false
"""onnxruntime-genai's model builder: a transformers model in, a package of one precision out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import common, families, graph, lean


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Writes the package to `out`."""
    with child.loading():
        from onnxruntime_genai.models.builder import create_model, parse_extra_options  # noqa: PLC0415 - seconds, prints

    place = (None, orders["model"], orders["out"], orders["precision"], orders["device"], orders["cache"])
    try:
        with families.adapted(), lean.k_quant():
            extra = {**families.WHOLE_CACHE, **orders["extra"]}
            settings = parse_extra_options(*place, [f"{name}={value}" for name, value in extra.items()])
            create_model(*place, **settings)
    except NotImplementedError as exc:
        raise child.Failed(
            f"onnxruntime-genai's model builder cannot build this model: {exc} "
            "docs/onnx.md lists what was tried; classifiers are exported with method: classification."
        ) from exc
    except (ValueError, KeyError, RuntimeError, AssertionError) as exc:
        reason = " ".join(str(exc).split())[:400]
        raise child.Failed(f"the model builder refuses {orders['name']}: {type(exc).__name__}: {reason}") from exc
    if not (Path(orders["out"]) / "genai_config.json").is_file():
        raise child.Failed(f"the model builder ended without a package for {orders['name']}; see worker.log")
    if orders["embeddings_block"] is not None:
        graph.eight_bit_embeddings(Path(orders["out"]), orders["embeddings_block"])
    common.settle(Path(orders["out"]))
    return {"peak_memory_bytes": common.peak_memory_bytes()}
