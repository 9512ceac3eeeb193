"""What trackers are told of a comparison, and telling them: each in the interpreter that has its library."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk.compare.bench import Tracking
from finetune_sdk.compare.results import CandidateResult, Results
from finetune_sdk.errors import FineTuneError
from finetune_sdk.redact import redact
from finetune_sdk.worker.envs import EnvStore
from finetune_sdk.worker.interpreters import requirement_lines

LOCK = Path(__file__).parent / "worker.lock"
_SEND = Path(__file__).parent / "send.py"
_LONGEST_S = 600.0
_SHOWN = 600  # characters of a library's last words


def track(tracking: Tracking, results: Results, *, home: Path, folder: Path, report: Path) -> dict[str, str]:
    """Write the results to every tracker that was asked for; where to, by tracker. Equal results are written once.

    `folder`: the comparison's. Raises `EnvError`, and `FineTuneError` with the library's own words.
    """
    found: dict[str, str] = {}
    python = EnvStore(home).python(
        "trackers", LOCK, wanted=tracking.environment, smoke=tracking.to, requirements=_needed(tracking)
    )
    for tracker in tracking.to:
        place = Path(tracking.folder) if tracking.folder is not None else folder / "trackers"
        payload = {**described(results), "tracker": tracker, "project": tracking.project or results.name}
        found[tracker] = _sent(payload, python, place / tracker, folder / "tracking" / tracker, report)
    return found


def _needed(tracking: Tracking) -> list[str]:
    lines = requirement_lines(LOCK.with_suffix(".in"))
    return [line for line in lines if line.partition(">")[0] in tracking.to]


def _sent(payload: dict[str, Any], python: Path, to: Path, record: Path, report: Path) -> str:
    digest = hashlib.sha256(json.dumps([payload, str(to)], sort_keys=True).encode()).hexdigest()
    record.mkdir(parents=True, exist_ok=True)
    done = record / "sent.json"
    if done.exists():
        before = msgspec.json.decode(done.read_bytes(), type=dict[str, str])
        if before["sha256"] == digest:
            return before["place"]
    sent = {**payload, "folder": str(to), "report": str(report), "at": time.time()}
    (record / "payload.json").write_text(json.dumps(sent, ensure_ascii=False), encoding="utf-8")
    place = _run([str(python), "-I", str(_SEND), str(record / "payload.json")], str(payload["tracker"]), record)
    done.write_bytes(msgspec.json.encode({"sha256": digest, "place": place}))
    return place


def _run(command: list[str], tracker: str, record: Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False, cwd=record)
    except subprocess.TimeoutExpired as error:
        raise FineTuneError(
            f"{tracker} took longer than {_LONGEST_S:g} s; the report is written all the same"
        ) from error
    if done.returncode != 0:
        raise FineTuneError(f"{tracker} was not written to: {redact(done.stderr)[-_SHOWN:].strip()}")
    return done.stdout.rpartition("written: ")[2].strip()


def described(results: Results) -> dict[str, Any]:
    """The results as trackers take them: numbers that are known, and nothing for those that are not."""
    return {
        "summary": redact("\n".join((results.summary, *results.findings))),
        "runs": [
            {
                "name": one.name,
                "config": _config(one, results),
                "scores": dict(_scores(one)),
                "losses": [[step, loss] for step, loss in one.losses],
            }
            for one in results.candidates
        ],
    }


def _config(one: CandidateResult, results: Results) -> dict[str, str]:
    told = {
        "kind": one.kind, "provider": one.provider, "model": one.model, "prompt": one.prompt, "stage": one.stage,
        "error": redact(one.error or ""), "job": one.job_id or "", "receipt": one.receipt or "",
        "bench_sha256": results.bench_sha256, "sdk": results.sdk,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value}


def _scores(one: CandidateResult) -> Iterator[tuple[str, float]]:
    for metric, score in one.scores.items():
        numbers = {"": score.value, "/low": score.low, "/high": score.high}
        yield from ((f"score/{metric}{end}", value) for end, value in numbers.items() if value is not None)
    for task in one.tasks:
        yield f"lm_eval/{task.task}/{task.metric}", task.value
    numbers = {
        "items": one.items, "failed": one.failed, "latency/p50_s": one.speed.p50_s, "latency/p95_s": one.speed.p95_s,
        "latency/first_token_p50_s": one.speed.first_token_p50_s, "answers_per_s": one.speed.answers_per_s,
        "cost/training_usd": one.costs.training, "cost/per_1k_requests_usd": one.costs.per_1k_requests,
        "cost/per_month_usd": one.costs.per_month, "train_s": one.train_s,
        "memory/training_bytes": one.peak_memory_bytes, "memory/serving_bytes": one.serving_memory_bytes,
    }  # fmt: skip
    yield from ((key, float(value)) for key, value in numbers.items() if value is not None)
