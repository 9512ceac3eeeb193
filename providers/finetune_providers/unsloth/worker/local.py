"""What all workers on this machine share: the peft provider's, loaded by path. Standard library only.

Rows to tokens, checkpoints, events, evaluation and receipts are the same whoever trains; they use torch and
transformers alone. They are imported under a private name, after Unsloth.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parents[2] / "peft" / "worker"
_NAME = "finetune_local"


def part(name: str) -> Any:
    """One module of it, such as "rows"."""
    if _NAME not in sys.modules:
        _load()
    return importlib.import_module(f"{_NAME}.{name}")


def _load() -> None:
    spec = importlib.util.spec_from_file_location(
        _NAME, _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"no worker at {_FOLDER}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    spec.loader.exec_module(module)
