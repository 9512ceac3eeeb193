"""How alike two texts are, 0.0 to 1.0: the metrics of the text_similarity grader that need no model. Standard library.

`fuzzy_match` is rapidfuzz's normalised ratio; ROUGE is the F1 of rouge-score without stemming; BLEU is sacrebleu's
sentence score (exponential smoothing) on words and punctuation marks; GLEU is that of Wu et al. 2016, as in nltk.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

_WORD = re.compile(r"[a-z0-9]+")
_TOKEN = re.compile(r"\w+|[^\w\s]")
_LONGEST = 4


def common_subsequence(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004)."""
    places: dict[Hashable, int] = {}
    for position, item in enumerate(one):
        places[item] = places.get(item, 0) | 1 << position
    full = (1 << len(one)) - 1
    row = full
    for item in other:
        matched = row & places.get(item, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - row.bit_count()


def fuzzy_match(text: str, reference: str) -> float:
    """1 minus the insertions and deletions between them over their joint length."""
    joint = len(text) + len(reference)
    return 1.0 if joint == 0 else 2 * common_subsequence(text, reference) / joint


def rouge_l(text: str, reference: str) -> float:
    """F1 over the longest common subsequence of words."""
    words, wanted = _WORD.findall(text.lower()), _WORD.findall(reference.lower())
    return _f1(common_subsequence(words, wanted), len(words), len(wanted))


def rouge_n(size: int) -> Callable[[str, str], float]:
    """F1 over runs of `size` words."""

    def score(text: str, reference: str) -> float:
        found, wanted = (_runs(_WORD.findall(each.lower()), size) for each in (text, reference))
        return _f1((found & wanted).total(), found.total(), wanted.total())

    return score


def bleu(text: str, reference: str) -> float:
    """Geometric mean of the precisions of runs of 1 to 4 tokens, times the brevity penalty."""
    found, wanted = _TOKEN.findall(text), _TOKEN.findall(reference)
    logs, halving = 0.0, 1.0
    sizes = [size for size in range(1, _LONGEST + 1) if len(found) >= size]
    if not sizes or not wanted:
        return 0.0
    for size in sizes:
        ours = _runs(found, size)
        hits = (ours & _runs(wanted, size)).total()
        if hits == 0:
            if size == 1:
                return 0.0
            halving *= 2
        logs += math.log((hits or 1 / halving) / ours.total())
    brevity = min(0.0, 1 - len(wanted) / len(found))
    return math.exp(logs / len(sizes) + brevity)


def gleu(text: str, reference: str) -> float:
    """The lower of precision and recall over runs of 1 to 4 tokens together."""
    found, wanted = (_all_runs(_TOKEN.findall(each)) for each in (text, reference))
    most = max(found.total(), wanted.total())
    return (found & wanted).total() / most if most else 0.0


def _runs(items: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(items[i : i + size]) for i in range(len(items) - size + 1))


def _all_runs(items: Sequence[str]) -> Counter[tuple[str, ...]]:
    total: Counter[tuple[str, ...]] = Counter()
    for size in range(1, _LONGEST + 1):
        total += _runs(items, size)
    return total


def _f1(hits: int, found: int, wanted: int) -> float:
    return 2 * hits / (found + wanted) if hits else 0.0


METRICS: Mapping[str, Callable[[str, str], float]] = {
    "fuzzy_match": fuzzy_match,
    "bleu": bleu,
    "gleu": gleu,
    **{f"rouge_{size}": rouge_n(size) for size in range(1, 6)},
    "rouge_l": rouge_l,
}
REFUSED: Mapping[str, str] = {
    "cosine": "it needs an embedding model",
    "meteor": "it needs WordNet",
}
"""OpenAI has them, this provider does not, and why."""
