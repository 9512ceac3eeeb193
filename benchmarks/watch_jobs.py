"""What it costs to look once at many running jobs: `FineTuneJob.watch_all` against one request per job.

    .venv/bin/python benchmarks/watch_jobs.py --jobs 1000

Prints one JSON line: requests and seconds of CPU in the watching process, for one look at all jobs with the vendor's
SDK; for the watch from its start to the news of every job, events and store included (first); and for each round of
looking after that (round), when nothing has changed. The service runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

import openai  # noqa: E402
from wire import stub  # noqa: E402
from wire.helpers import RUNNING, store_of  # noqa: E402

from finetune_sdk import FineTuneJob  # noqa: E402


def serve(pipe: Pipe, jobs: int) -> None:
    service = stub.Service()
    for number in range(jobs):
        job_id = f"ftjob-{number:06d}"
        service.jobs[job_id], service.events[job_id] = {**RUNNING, "id": job_id}, []
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


def watching(home: Path, jobs: int, pipe: Pipe) -> tuple[dict[str, float], dict[str, float]]:
    """The cost of the first look, and of a later round."""
    watch = FineTuneJob.watch_all(home=home, poll_s=1.0)
    first = measured(lambda: [next(watch) for _ in range(2 * jobs)], pipe)
    threading.Thread(target=next, args=(watch,), daemon=True).start()  # nothing changes: it looks, and looks again
    later = measured(lambda: time.sleep(10.0), pipe)
    rounds = later["requests"] / -(-jobs // 100)
    return first, {"cpu_s": round(later["cpu_s"] / rounds, 2), "requests": later["requests"] / rounds, "rounds": rounds}


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
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(Path(folder), url, jobs)
        client.fine_tuning.jobs.retrieve(ids[0])
        measured(lambda: None, ours)
        naive = measured(lambda: [client.fine_tuning.jobs.retrieve(job_id) for job_id in ids], ours)
        first, later = watching(store.home, jobs, ours)
        print(json.dumps({"jobs": jobs, "vendor_sdk": naive, "first": first, "round": later}), flush=True)


if __name__ == "__main__":
    main()
