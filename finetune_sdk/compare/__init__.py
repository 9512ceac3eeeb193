"""Which provider, model and method is best on my data, and is tuning worth it at all? See docs/compare.md."""

from finetune_sdk.compare.bench import Bench
from finetune_sdk.compare.comparison import Comparison, PlannedCandidate
from finetune_sdk.compare.results import Results

__all__ = ["Bench", "Comparison", "PlannedCandidate", "Results"]
