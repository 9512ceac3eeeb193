# pyright: basic
"""Which module of AutoTrain trains a task, and under which names it reads its columns."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import rouge


class Task(NamedTuple):
    """`parameters` and `trainer` are `module:name` inside `autotrain.trainers`."""

    parameters: str
    trainer: str
    word: str | None = None
    """The parameter `trainer`, where one class serves several tasks."""
    columns: Mapping[str, str] = {}
    """AutoTrain's column parameter -> the column we write."""


_CLM = "clm.params:LLMTrainingParams"
_ST = "sent_transformers.params:SentenceTransformersParams"
_ST_TRAIN = "sent_transformers.__main__:train"
_ANSWERS = {"prompt_text_column": "prompt", "text_column": "chosen", "rejected_text_column": "rejected"}
_TEXT = {"text_column": "text", "target_column": "target"}

TASKS: Mapping[str, Task] = {
    "llm-sft": Task(_CLM, "clm.train_clm_sft:train", "sft", {"text_column": "text"}),
    "llm-generic": Task(_CLM, "clm.train_clm_default:train", "default", {"text_column": "text"}),
    "llm-dpo": Task(_CLM, "clm.train_clm_dpo:train", "dpo", _ANSWERS),
    "llm-orpo": Task(_CLM, "clm.train_clm_orpo:train", "orpo", _ANSWERS),
    "llm-reward": Task(_CLM, "clm.train_clm_reward:train", "reward", _ANSWERS),
    "text-classification": Task(
        "text_classification.params:TextClassificationParams", "text_classification.__main__:train", None, _TEXT
    ),
    "text-regression": Task(
        "text_regression.params:TextRegressionParams", "text_regression.__main__:train", None, _TEXT
    ),
    "token-classification": Task(
        "token_classification.params:TokenClassificationParams",
        "token_classification.__main__:train",
        None,
        {"tokens_column": "tokens", "tags_column": "tags"},
    ),
    "seq2seq": Task("seq2seq.params:Seq2SeqParams", "seq2seq.__main__:train", None, _TEXT),
    "st:pair": Task(_ST, _ST_TRAIN, "pair", {"sentence1_column": "anchor", "sentence2_column": "positive"}),
    "st:qa": Task(_ST, _ST_TRAIN, "qa", {"sentence1_column": "query", "sentence2_column": "answer"}),
    "st:triplet": Task(
        _ST,
        _ST_TRAIN,
        "triplet",
        {"sentence1_column": "anchor", "sentence2_column": "positive", "sentence3_column": "negative"},
    ),
    "st:pair_class": Task(
        _ST,
        _ST_TRAIN,
        "pair_class",
        {"sentence1_column": "premise", "sentence2_column": "hypothesis", "target_column": "label"},
    ),
    "st:pair_score": Task(
        _ST,
        _ST_TRAIN,
        "pair_score",
        {"sentence1_column": "sentence1", "sentence2_column": "sentence2", "target_column": "score"},
    ),
}


def parameters(task: Task) -> Any:
    """AutoTrain's parameter class."""
    return _found(task.parameters)


def trainer(task: Task) -> Callable[[Any], None]:
    """AutoTrain's `train`, without the decorator that turns every exception into a line of a log."""
    if task.trainer.startswith("seq2seq"):
        rouge.provide()
    common: Any = importlib.import_module("autotrain.trainers.common")
    common.monitor = lambda function: function
    return _found(task.trainer)


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"autotrain.trainers.{module}"), name)
