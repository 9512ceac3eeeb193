# pyright: basic
"""A search at a vendor (its stand-in) under a cap that is too small for it: what is begun is paid for, nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from wire import stub
from wire.learner import Learner

from finetune_sdk.compare import Comparison
from finetune_sdk.job import FineTuneJob

PRICE = 100.0  # USD per million training tokens
MODEL = {"openai": "gpt-4.1-mini-2025-04-14"}
ASKED = {"input_per_mtok": 1.0, "output_per_mtok": 2.0}


def words(index: int) -> str:
    drawn = random.Random(index)
    return " ".join("".join(drawn.choices("abcdefghijklmnop", k=6)) for _ in range(12))


def test_pilots_at_a_vendor_stop_at_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"prompt": words(n), "completion": ("joy", "fear")[n % 2]} for n in range(100)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    cap = 1.0
    bench: dict[str, Any] = {
        "name": "dear", "data": {"train": str(tmp_path / "rows.jsonl"), "test": 0.2, "validation": 0.2, "near": None},
        "metrics": ["accuracy"], "max_tokens": 8, "prices": {"openai": ASKED},
        "base": {"model": MODEL, "options": {"openai": {"price_per_million_tokens": PRICE}}},
        "candidates": [{"name": "tuned", "provider": "openai", "tune": {"hyperparameters": {"epochs": 1}}}],
        "search": [
            {
                "candidate": "tuned", "over": {"hyperparameters.epochs": [1, 2]}, "trials": 6, "factor": 2,
                "first_share": 0.5, "seed": 1,
            }
        ],
        "limits": {"max_cost_usd": cap, "hosted_jobs": 2},
    }  # fmt: skip
    with stub.serving(Learner()) as service:
        monkeypatch.setenv("OPENAI_API_KEY", stub.KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", service.url)
        comparison = Comparison(bench, home=tmp_path / "home")
        results = comparison.run()
        begun = [one for one in service.service.requests if (one.method, one.path) == ("POST", "/fine_tuning/jobs")]
    jobs = FineTuneJob.list(home=comparison.home)
    estimated = sum(job.record.plan["cost"]["usd"] for job in jobs)
    states = [json.loads(path.read_bytes())["stage"] for path in comparison.folder.glob("candidates/*/state.json")]
    assert len(begun) == len(jobs) > 0
    assert "over budget" in states
    assert 0 < estimated <= (results.spent_usd or 0.0) <= cap
