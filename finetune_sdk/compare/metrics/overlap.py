"""Overlap with a reference text: ROUGE by rouge-score, BLEU and chrF by sacrebleu, from their own statistics."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from finetune_sdk.compare.items import Answer, Item
from finetune_sdk.compare.metrics._fit import average, references
from finetune_sdk.compare.statistics import Measured
from finetune_sdk.errors import MissingExtra

if TYPE_CHECKING:
    from finetune_sdk.compare.statistics import Array

_Scored = Callable[[Sequence[Item], Sequence[Answer], Mapping[str, Any]], Measured]


def rouge(kind: str) -> _Scored:
    """ROUGE's F-measure per item (with stemming), averaged."""

    def measure(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
        wanted = references(items, kind)
        scorer = _library("rouge_score.rouge_scorer").RougeScorer([kind], use_stemmer=True)
        return average(
            [
                float(scorer.score(text, one.text or "")[kind].fmeasure)
                for one, text in zip(answers, wanted, strict=True)
            ]
        )

    return measure


def bleu(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Corpus BLEU, 0 to 100: sacrebleu's default (13a, exponential smoothing)."""
    metrics = _library("sacrebleu.metrics")
    return _corpus(metrics.BLEU(), references(items, "bleu"), answers)


def chrf(items: Sequence[Item], answers: Sequence[Answer], _options: Mapping[str, Any]) -> Measured:
    """Corpus chrF2, 0 to 100: sacrebleu's default (6 characters, no words)."""
    metrics = _library("sacrebleu.metrics")
    return _corpus(metrics.CHRF(), references(items, "chrf"), answers)


def _corpus(scorer: Any, wanted: list[str], answers: Sequence[Answer]) -> Measured:
    """Its statistics are counts per segment, summed over the corpus: just what resampling needs."""
    import numpy as np  # noqa: PLC0415 - an extra

    segments = scorer._extract_corpus_statistics([one.text or "" for one in answers], [wanted])

    def value(sums: Array) -> Array:
        flat = sums.reshape(-1, sums.shape[-1])
        scores = [scorer._compute_score_from_stats(row.tolist()).score for row in np.rint(flat).astype(int)]
        return np.asarray(scores, dtype=np.float64).reshape(sums.shape[:-1])

    return Measured(parts=np.asarray(segments, dtype=np.float64), value=value)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra("compare", name.partition(".")[0]) from error
