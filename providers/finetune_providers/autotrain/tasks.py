"""AutoTrain's tasks: which of our methods asks for each, what rows it learns from, and why some are refused.

Read in autotrain-advanced 0.8.36 (parser.py, trainers/*) on 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Task(NamedTuple):
    """One row."""

    parameters: str
    """Key of `parameters.json`: the parameter class."""
    methods: tuple[str, ...]
    """Methods of ours under which it may be chosen; "sft" stands for "left out" where the task says it all."""
    data: str
    """The method whose rows it learns from, for `finetune_sdk.data`."""
    length: str = "max_seq_length"
    """The parameter that is our `max_seq_length`."""
    adapter: bool = False
    """AutoTrain can train a LoRA adapter for it."""
    default_of: tuple[str, ...] = ()
    """Methods that mean this task when none is named."""


TASKS: Mapping[str, Task] = {
    "llm-sft": Task("llm", ("sft", "pretraining"), "", "block_size", True, ("sft",)),
    "llm-generic": Task("llm", ("sft", "pretraining"), "", "block_size", True, ("pretraining",)),
    "llm-dpo": Task("llm", ("dpo",), "dpo", "block_size", True, ("dpo",)),
    "llm-orpo": Task("llm", ("orpo",), "orpo", "block_size", True, ("orpo",)),
    "llm-reward": Task("llm", ("reward",), "reward", "block_size", True, ("reward",)),
    "text-classification": Task(
        "text-classification", ("classification",), "classification", default_of=("classification",)
    ),
    "text-regression": Task("text-regression", ("classification",), "classification"),
    "token-classification": Task("token-classification", ("classification",), "classification"),
    "seq2seq": Task("seq2seq", ("sft",), "sft", adapter=True),
    "st:pair": Task("sentence-transformers", ("sft",), "embedding"),
    "st:qa": Task("sentence-transformers", ("sft",), "embedding"),
    "st:triplet": Task("sentence-transformers", ("sft",), "embedding"),
    "st:pair_class": Task("sentence-transformers", ("sft", "classification"), "classification"),
    "st:pair_score": Task("sentence-transformers", ("sft", "classification"), "classification"),
}
"""An empty `data` is the method's own."""

REFUSED: Mapping[str, str] = {
    "tabular": "AutoTrain's own pins do not work together: xgboost 2.1.3 calls what scikit-learn 1.6.0 no longer has",
    "image-classification": "images are not read by the data layer, and its CPU environment has no torchvision",
    "image-regression": "images are not read by the data layer, and its CPU environment has no torchvision",
    "image-object-detection": "images are not read by the data layer, and its CPU environment has no torchvision",
    "vlm:captioning": "images are not read by the data layer",
    "vlm:vqa": "images are not read by the data layer",
    "extractive-qa": "the data layer has no rows with answers inside a context",
}


def default(method: str) -> str | None:
    """The task a method means by itself."""
    return next((name for name, task in TASKS.items() if method in task.default_of), None)
