# pyright: basic
"""The finished package of a classifier: it must load and answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .classifying import Classifier


def run(child: Any, orders: dict[str, Any]) -> dict[str, Any]:
    """Fails when it does not."""
    try:
        classifier = Classifier(Path(orders["package"]))
        classifier.scores([classifier.encode(["a text"], 32)])
    except Exception as exc:  # onnxruntime's and the tokenizers' errors have no common root
        reason = " ".join(str(exc).split())[:400]
        raise child.Failed(f"{orders['name']}: the finished package does not answer: {reason}") from exc
    return {}
