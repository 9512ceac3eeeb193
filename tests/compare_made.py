"""Results of a comparison made up for tests of what becomes of them: every part of a report has something to show."""

from __future__ import annotations

import math
from typing import Any

from finetune_sdk.compare.results import (
    CandidateResult,
    Costs,
    CurvePoint,
    CurveResult,
    Drift,
    JudgeResult,
    PairResult,
    Results,
    Score,
    Shown,
    Slice,
    Speed,
    TaskScore,
)
from finetune_sdk.compare.split import Frozen

NAMES = ("unsloth-lora", "peft-full", "peft-lora", "a-candidate-with-quite-a-long-name", "four-examples", "zero-shot")
LABELS = ("joy", "anger", "fear")
SECRET = "sk-proj-" + "s3cr3t" * 8


def results() -> Results:
    """Six candidates, the first three alike; one failed."""
    candidates = [_candidate(place, name) for place, name in enumerate(NAMES)]
    failed = CandidateResult(
        name="hosted",
        kind="tuned",
        provider="openai",
        model="gpt",
        prompt="zero-shot",
        stage="failed",
        error=f"the key {SECRET} was refused",
    )
    return Results(
        name="tones <&>",
        bench_sha256="ab" * 32,
        sdk="0.1.0",
        created="2026-11-21T09:00:00+00:00",
        split=Frozen(
            format="chat",
            rows={"train": 300, "test": 60},
            sha256={"train.jsonl": "cd" * 32},
            leaks={},
            notes=["a note"],
        ),
        metric="accuracy",
        titles={"accuracy": "accuracy", "perplexity": "perplexity"},
        units={"accuracy": 100.0, "perplexity": 1.0},
        higher={"accuracy": True, "perplexity": False},
        candidates=(*candidates, failed),
        pairs=tuple(_pairs()),
        summary="unsloth-lora beats four-examples by 40.0 points of accuracy (95 % 30.1 to 49.9).",
        findings=("Tuning is worth it here: it is.",),
        shown=tuple(_shown(index) for index in range(24)),
        curve=CurveResult(
            candidate="peft-lora",
            points=tuple(
                CurvePoint(rows=rows, score=Score(value=value, low=value - 0.1, high=value + 0.08))
                for rows, value in ((38, 0.4), (75, 0.55), (150, 0.7), (300, 0.85))
            ),
            foretold_rows=600,
            gain=0.05,
            gain_low=0.01,
            gain_high=0.09,
            sentence="With 600 training rows about 5.0 points.",
        ),
        judged=(
            JudgeResult(
                candidate="peft-lora",
                against="zero-shot",
                won=30,
                lost=4,
                tied=20,
                inconsistent=9,
                nonsense=3,
                failed=3,
                share=Score(value=0.88),
                p_value=0.0001,
            ),
        ),
        requests_per_month=100_000,
    )


def _candidate(place: int, name: str) -> CandidateResult:
    value = (0.91, 0.9, 0.9, 0.52, 0.5, 0.02)[place]
    tuned = place < 3
    steps = [(step, 3 * math.exp(-step / (12 + place)) + 0.05) for step in range(1, 61)]
    known: dict[str, Any] = {}
    if tuned:
        known = {
            "losses": tuple(steps),
            "job_id": f"ft-{place}",
            "receipt": "ef" * 32,
            "train_s": 34.5 + place,
            "peak_memory_bytes": 677_527_552,
            "drift": Drift(items=16, agreement=41.3, loss_before=7.1, loss_after=7.9),
        }
    return CandidateResult(
        name=name,
        kind="tuned" if tuned else "base",
        provider="peft",
        model="builtin/tiny",
        prompt="zero-shot",
        stage="done",
        scores={
            "accuracy": Score(value=value, low=max(0.0, value - 0.09), high=min(1.0, value + 0.06)),
            "perplexity": Score(value=1100 / (1 + 100 * value)),
        },
        items=60,
        failed=place % 2,
        errors={"HTTP 500: too busy": 1} if place % 2 else {},
        cut=place,
        speed=Speed(
            p50_s=0.031 + 0.001 * place, p95_s=0.06, p99_s=0.08, first_token_p50_s=0.02, answers_per_s=41.0, requests=8
        ),
        costs=Costs(
            training=0.001,
            per_1k_requests=0.0 if place != 3 else 0.4,
            hosting_per_month=58.4,
            per_month=58.4,
            unknown=() if place else ("hosting",),
        ),
        prompt_tokens=45.0,
        completion_tokens=2.0,
        serving_memory_bytes=402_653_184,
        slices=tuple(Slice(key="desk", value=desk, items=30, score=Score(value=value)) for desk in ("east", "west")),
        confusion={name: {other: 5 if name == other else 2 for other in LABELS} for name in LABELS},
        tasks=(
            TaskScore(task="written", metric="exact_match", value=value, stderr=0.05, items=40, higher_is_better=True),
        ),
        **known,
    )


def _pairs() -> list[PairResult]:
    found: list[PairResult] = []
    for place, second in enumerate(NAMES[:-1]):
        found.append(
            PairResult(
                metric="accuracy",
                first=NAMES[place + 1],
                second=second,
                difference=0.01 + 0.1 * (place == 2),
                low=-0.02,
                high=0.2,
                p_value=0.03,
                p_adjusted=0.09,
                decided=place == 2,
                more_items=None if place == 2 else 180,
                won=place + 1,
                lost=place,
            )
        )
    return found


def _shown(index: int) -> Shown:
    right = {name: float((index + place) % 3 != 0) for place, name in enumerate(NAMES)}
    return Shown(
        id=f"item-{index}",
        question=f"Is <b>this</b> number {index}? </script>",
        reference=LABELS[index % 3],
        answers={name: LABELS[index % 3] if right[name] else "no idea" for name in NAMES},
        right=right,
    )
