# pyright: basic
"""Runs in AutoTrain's environment: `python autotrain_answers.py RUNNER WORKER MODEL` with rows on stdin.

Says on its last line, as JSON, how the worker renders each row for the model in that folder, in token ids, and which
parameters AutoTrain's classes have.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any


def main(runner_file: str, worker: str, model: str) -> None:
    os.environ["ALLOW_REMOTE_CODE"] = "false"
    spec = importlib.util.spec_from_file_location("_runner", runner_file)
    assert spec is not None
    assert spec.loader is not None
    runner: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    runner.load(Path(worker), "finetune_worker")
    parts = {name: importlib.import_module(f"finetune_worker.{name}") for name in ("chat", "newer", "tasks")}
    parts["newer"].understand()
    tasks = parts["tasks"]
    params = tasks.parameters(tasks.TASKS["llm-sft"])(model=model, project_name="x")
    tokenizer = importlib.import_module("autotrain.trainers.clm.utils").get_tokenizer(params)
    rows = [json.loads(line) for line in sys.stdin]
    fields = {name: sorted(tasks.parameters(task).model_fields) for name, task in tasks.TASKS.items()}
    ids = [tokenizer(parts["chat"].conversation(tokenizer, row))["input_ids"] for row in rows]
    sys.stdout.write(json.dumps({"ids": ids, "fields": fields}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
