# pyright: basic
"""Runs in AutoTrain's environment: `python autotrain_inside.py RUNNER WORKER JOBDIR...`.

AutoTrain's imports take longer than a tiny training. So they happen once, and every job is a fork that then does what
a worker's process does: the SDK's runner runs it and writes `result.json`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path


def main(runner_file: str, worker: str, jobs: list[str]) -> None:
    spec = importlib.util.spec_from_file_location("_runner", runner_file)
    assert spec is not None
    assert spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    os.environ["ALLOW_REMOTE_CODE"] = "false"
    runner.load(Path(worker), "finetune_worker")
    importlib.import_module("finetune_worker.job")
    for module in ("trl", "sentence_transformers", "autotrain.trainers.clm.utils"):
        importlib.import_module(module)
    for job in jobs:
        child = os.fork()
        if child == 0:
            log = os.open(str(Path(job) / "worker.log"), os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os._exit(runner.run(Path(job)))
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
