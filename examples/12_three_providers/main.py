"""One word changes, three backends train, one table compares: `python examples/12_three_providers/main.py`."""

from __future__ import annotations

from pathlib import Path

import make_model
from rich import box
from rich.console import Console
from rich.table import Table

from finetune_sdk import FineTuneJob
from finetune_sdk.spec import MetricName

SPEC = Path(__file__).resolve().parent / "job.yaml"
PROVIDERS = ("peft", "autotrain", "unsloth")


def main() -> None:
    """Train with each, one after the other, then print what came out."""
    make_model.main()
    table = Table("provider", "first loss", "last loss", "perplexity", "exact match", "training", box=box.SIMPLE)
    for provider in PROVIDERS:
        job = FineTuneJob.submit(SPEC, provider=provider)
        done = job.wait()
        losses = [event.metrics["loss"] for event in job.events() if "loss" in event.metrics]
        seconds = f"{done.usage.train_s:.0f} s" if done.usage and done.usage.train_s else "?"
        scores = (_scores(job, name) for name in ("perplexity", "exact_match"))
        table.add_row(provider, f"{losses[0]:.3f}", f"{losses[-1]:.3f}", *scores, seconds)
    Console(width=100).print(table)


def _scores(job: FineTuneJob, name: MetricName) -> str:
    """Base and tuned model on the same held-out rows."""
    metric = job.evaluation().metric(name)
    return " -> ".join(f"{score.value:.2f}" for score in (metric.base, metric.tuned) if score is not None)


if __name__ == "__main__":
    main()
