"""What it costs to look once at many running jobs: the list, a hundred jobs a page, against one request per job.

    .venv/bin/python benchmarks/watch_jobs.py --jobs 1000

Prints one JSON line: requests and seconds of CPU in the watching process. The service runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import openai  # noqa: E402
from finetune_providers.openai.provider import OpenAIProvider  # noqa: E402
from wire import stub  # noqa: E402

JOB: dict[str, Any] = {
    "object": "fine_tuning.job", "created_at": 1, "model": "m", "training_file": "file-1", "status": "running",
    "hyperparameters": {}, "organization_id": "org", "result_files": [], "seed": 1, "user_provided_suffix": None,
}  # fmt: skip


def serve(pipe: Pipe, jobs: int) -> None:
    service = stub.Service()
    for number in range(jobs):
        job_id = f"ftjob-{number:06d}"
        service.jobs[job_id] = {**JOB, "id": job_id}
        service.place(job_id)
    with stub.serving(service) as running:
        pipe.send(running.url)
        while pipe.recv() == "requests":
            pipe.send(len(service.requests))
            service.requests.clear()


def measured(deed: Callable[[], object], pipe: Pipe) -> dict[str, float]:
    started = time.process_time()
    deed()
    seconds = time.process_time() - started
    pipe.send("requests")
    return {"cpu_s": round(seconds, 2), "requests": pipe.recv()}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    jobs = parser.parse_args().jobs
    os.environ["OPENAI_API_KEY"] = stub.KEY
    ours, theirs = multiprocessing.Pipe()
    multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, jobs), daemon=True).start()
    url = ours.recv()
    ids = [f"ftjob-{number:06d}" for number in range(jobs)]
    client = openai.OpenAI(base_url=url, api_key=stub.KEY)
    with tempfile.TemporaryDirectory() as home:
        provider = OpenAIProvider(home=Path(home))
        refs = [f"{url}?wire=compatible#{job_id}" for job_id in ids]
        provider.poll(refs[0])
        client.fine_tuning.jobs.retrieve(ids[0])
        measured(lambda: None, ours)
        naive = measured(lambda: [client.fine_tuning.jobs.retrieve(job_id) for job_id in ids], ours)
        shared = measured(lambda: provider.poll_many(refs), ours)
    ours.send("done")
    print(json.dumps({"jobs": jobs, "vendor_sdk": naive, "poll_many": shared}))


if __name__ == "__main__":
    main()
