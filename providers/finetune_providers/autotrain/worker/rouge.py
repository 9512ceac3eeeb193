# pyright: basic
"""ROUGE without the hub: AutoTrain's seq2seq asks `evaluate` for it while it is imported, and that fetches a script.

The script is a thin cover of `rouge_score`, which is installed; so is this. Sentences are told apart by their end marks
where NLTK's model for that is not on this machine.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

_KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_END = re.compile(r"(?<=[.!?])\s+")


class Rouge:
    """What `evaluate.load("rouge")` gives, as far as AutoTrain uses it."""

    def compute(self, *, predictions: list[str], references: list[str], use_stemmer: bool) -> dict[str, float]:
        """Mean F-measures."""
        from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415 - slow to import

        scorer = RougeScorer(list(_KINDS), use_stemmer=use_stemmer)
        scores = [scorer.score(target, found) for found, target in zip(predictions, references, strict=True)]
        return {kind: sum(score[kind].fmeasure for score in scores) / len(scores) for kind in _KINDS}


def provide() -> None:
    """Put it where AutoTrain's seq2seq module will look."""
    evaluate: Any = importlib.import_module("evaluate")
    nltk: Any = importlib.import_module("nltk")
    load = evaluate.load
    evaluate.load = lambda name, *args, **kwargs: Rouge() if name == "rouge" else load(name, *args, **kwargs)
    try:
        nltk.sent_tokenize("A b.")
    except LookupError:
        nltk.sent_tokenize = lambda text, *_: _END.split(text)
