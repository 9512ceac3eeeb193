"""The quickstart from Python: plan, submit, follow, score. Run it: `python examples/05_python_api/main.py`."""

from __future__ import annotations

from pathlib import Path

from finetune_sdk import FineTuneJob

SPEC = Path(__file__).resolve().parent.parent / "01_quickstart" / "finetune.yaml"


def main() -> None:
    """Train, then print base and tuned model side by side."""
    plan = FineTuneJob.plan(SPEC)
    print("cost:", plan.cost.usd, "USD;", *(f"{one.role}: {one.rows} rows" for one in plan.data))

    job = FineTuneJob.submit(SPEC)
    for event in job.follow():
        if event.step is not None and "loss" in event.metrics and event.step % 50 == 0:
            print("step", event.step, "loss", round(event.metrics["loss"], 4))

    job.wait()
    score = job.evaluation().metric("exact_match")
    print("exact match:", score.base, "->", score.tuned)


if __name__ == "__main__":
    main()
