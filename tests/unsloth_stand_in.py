# pyright: basic
"""The unsloth worker's classifier door, run for real with transformers and peft standing in for Unsloth's loader.

Unsloth's FastModel loads classifiers on a GPU only; everything around it is the same here. A worker like any other.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

UNSLOTH = Path(__file__).parent.parent / "providers" / "finetune_providers" / "unsloth" / "worker"
_FOR_UNSLOTH = ("max_seq_length", "full_finetuning", "use_gradient_checkpointing", "random_state")


class FastModel:
    """The two functions that the worker calls."""

    @staticmethod
    def from_pretrained(model_name: str, *, load_in_4bit: bool, load_in_8bit: bool, **given: Any) -> tuple[Any, None]:
        """A model with a head."""
        from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - slow to import

        assert not load_in_4bit
        assert not load_in_8bit
        kept = {name: value for name, value in given.items() if name not in _FOR_UNSLOTH}
        return AutoModelForSequenceClassification.from_pretrained(model_name, **kept), None

    @staticmethod
    def get_peft_model(model: Any, **given: Any) -> Any:
        """The model with LoRA."""
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - slow to import

        kept = {name: value for name, value in given.items() if name not in _FOR_UNSLOTH}
        return get_peft_model(model, LoraConfig(**kept))


def main(ctx: Any) -> dict[str, Any]:
    """Train through the door, with another loader behind it."""
    spec: Any = importlib.util.spec_from_file_location(
        "stand_in", UNSLOTH / "__init__.py", submodule_search_locations=[str(UNSLOTH)]
    )
    sys.modules["stand_in"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["stand_in"])
    vendor: Any = importlib.import_module("stand_in.vendor")
    vendor.unsloth = lambda: SimpleNamespace(FastModel=FastModel, DEVICE_TYPE="cuda")
    result: dict[str, Any] = importlib.import_module("stand_in.scoring").run(ctx)
    return result
