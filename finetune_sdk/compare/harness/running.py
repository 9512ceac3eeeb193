"""Running the harness's tasks against a deployment, and reading what it measured."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from finetune_sdk._document import is_mapping
from finetune_sdk.compare.bench import Harness, Limits
from finetune_sdk.compare.results import TaskScore
from finetune_sdk.errors import FineTuneError, SpecError
from finetune_sdk.redact import redact
from finetune_sdk.types import Deployment
from finetune_sdk.worker.envs import EnvStore

LOCK = Path(__file__).parent / "worker.lock"
_SMOKE = ("lm_eval", "transformers")
_PATHS: Mapping[str, tuple[str, str]] = {  # api of the bench -> the harness's name for it, and where it is asked
    "chat": ("local-chat-completions", "chat/completions"),
    "completions": ("local-completions", "completions"),
}
_SHOWN = 600  # characters of the harness's last words
_LEAST_S = 60.0


def interpreter(harness: Harness, home: Path) -> Path:
    """The interpreter that has the harness; its environment is built if need be. Raises `EnvError`."""
    return EnvStore(home).python("lm-eval", LOCK, wanted=harness.environment, smoke=_SMOKE)


def measured(
    harness: Harness, to: Deployment, *, python: Path, folder: Path, tokenizer: Path | None, limits: Limits,
    left_s: float | None,
) -> list[TaskScore]:  # fmt: skip
    """Every task's metrics, also kept in `folder`; what lies there already is not asked for again.

    `tokenizer`: the folder of the model's; needed for `completions`. `left_s`: seconds until it is stopped; None = no
    limit. Raises `SpecError`, `FineTuneError` with the harness's own words when it fails.
    """
    record = folder / "scores.json"
    if record.exists():
        return msgspec.json.decode(record.read_bytes(), type=list[TaskScore])
    command = [str(python), "-m", "lm_eval", *_arguments(harness), *_model(harness, to, tokenizer, limits)]
    folder.mkdir(parents=True, exist_ok=True)
    command += ["--output_path", str(folder)]
    timeout_s = None if left_s is None else max(_LEAST_S, left_s)
    _run(command, to, log=folder / "lm-eval.log", at=Path(harness.folder or folder), timeout_s=timeout_s)
    found = read(folder)
    part = record.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(found))
    part.replace(record)
    return found


def _arguments(harness: Harness) -> list[str]:
    made = ["--tasks", ",".join(harness.tasks)]
    made += ["--apply_chat_template"] if harness.api == "chat" else []
    made += ["--include_path", harness.folder] if harness.folder is not None else []
    made += ["--limit", str(harness.limit)] if harness.limit is not None else []
    return [*made, "--num_fewshot", str(harness.num_fewshot)] if harness.num_fewshot is not None else made


def _model(harness: Harness, to: Deployment, tokenizer: Path | None, limits: Limits) -> list[str]:
    kind, path = _PATHS[harness.api]
    asked: dict[str, object] = {
        "model": to.model,
        "base_url": f"{to.base_url.rstrip('/')}/{path}",
        "num_concurrent": limits.requests,
        "max_retries": limits.attempts,
        "timeout": int(limits.request_timeout_s),
        "tokenizer_backend": "none",
    }
    if harness.api == "completions":
        if tokenizer is None:
            raise SpecError(
                "`api: completions` needs the model's tokenizer, which only candidates on this machine have here; use "
                "`api: chat`, with tasks that generate text"
            )
        asked |= {"tokenizer_backend": "huggingface", "tokenizer": str(tokenizer)}
    return ["--model", kind, "--model_args", json.dumps(asked)]


def _run(command: Sequence[str], to: Deployment, *, log: Path, at: Path, timeout_s: float | None) -> None:
    """`at`: the folder that data files of tasks are named from."""
    environment = {**os.environ, "OPENAI_API_KEY": os.environ.get(to.api_key_env or "", "") or "none"}
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=at, timeout=timeout_s,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise FineTuneError(f"lm_eval was stopped after {timeout_s:,.0f} s: the time is over; see {log}") from error
    if done.returncode != 0:
        said = redact(log.read_text(encoding="utf-8", errors="replace"))[-_SHOWN:].strip()
        raise FineTuneError(f"lm_eval failed (exit status {done.returncode}); see {log}: {said}")


def read(folder: Path) -> list[TaskScore]:
    """The metrics in the newest of the harness's result files. Raises `FineTuneError` when there is none."""
    files = sorted(folder.rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
    if not files:
        raise FineTuneError(f"lm_eval wrote no results to {folder}")
    tree: dict[str, Any] = json.loads(files[-1].read_bytes())
    return list(_scores(tree))


def _scores(tree: Mapping[str, Any]) -> Iterator[TaskScore]:
    """One per task and metric; keys are `metric,filter`, with `metric_stderr,filter` beside them."""
    higher, samples = tree.get("higher_is_better", {}), tree.get("n-samples", {})
    for task, values in tree.get("results", {}).items():
        for key, value in values.items():
            metric, comma, kind = str(key).partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{metric}_stderr,{kind}")
            count = samples.get(task, {})
            yield TaskScore(
                task=task,
                metric=metric if kind == "none" else f"{metric} ({kind})",
                value=float(value),
                stderr=float(error) if isinstance(error, int | float) else None,
                items=count.get("effective") if is_mapping(count) else None,
                higher_is_better=higher.get(task, {}).get(metric),
            )
