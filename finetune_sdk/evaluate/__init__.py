"""Did it help? Scores of base and tuned model on held-out rows, with intervals, and the report that shows them."""

from finetune_sdk.evaluate.result import (
    Change,
    Evaluated,
    Flips,
    Label,
    LabelScore,
    Metric,
    Outcome,
    Sample,
    Score,
    Verdict,
)
from finetune_sdk.evaluate.scoring import evaluate_predictions

__all__ = [
    "Change",
    "Evaluated",
    "Flips",
    "Label",
    "LabelScore",
    "Metric",
    "Outcome",
    "Sample",
    "Score",
    "Verdict",
    "evaluate_predictions",
]
