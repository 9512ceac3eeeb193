# pyright: basic, reportMissingImports=false
"""The finished package, loaded by onnxruntime-genai alone: it must generate a token, with every adapter it brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as og


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Fails when it cannot."""
    package = Path(orders["package"])
    try:
        model = og.Model(str(package))
        og.Tokenizer(model)
        adapters: Any = og.Adapters(model) if orders["adapters"] else None
        for adapter in orders["adapters"]:
            adapters.load(str(package / adapter["file"]), adapter["name"])
        for name in [None, *(adapter["name"] for adapter in orders["adapters"])]:
            _token(model, adapters, name)
    except Exception as exc:  # the library raises its own and RuntimeError, without a common root
        reason = " ".join(str(exc).split())[:400]
        raise child.Failed(f"{orders['name']}: the finished package does not generate: {reason}") from exc
    return {}


def _token(model: Any, adapters: Any, name: str | None) -> None:
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=4, min_length=4, do_sample=False)
    generator = og.Generator(model, params)
    if name is not None:
        generator.set_active_adapter(adapters, name)
    generator.append_tokens(np.asarray([0], np.int32))
    generator.generate_next_token()
