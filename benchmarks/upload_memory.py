"""How much memory an upload takes, and how long: a file of zeros to a stand-in service on loopback, in parts and whole.

    .venv/bin/python benchmarks/upload_memory.py --mebibytes 1024

Prints one JSON line; the service runs in a process of its own, so its memory is not counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from finetune_providers.openai.client import client  # noqa: E402
from finetune_providers.openai.connection import Connection  # noqa: E402
from finetune_providers.openai.server import Server  # noqa: E402
from finetune_providers.openai.wire import OPENAI  # noqa: E402
from wire import stub  # noqa: E402


def serve(pipe: Pipe) -> None:
    with stub.serving(stub.Service(keep_content=False)) as running:
        pipe.send(running.url)
        pipe.recv()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--mebibytes", type=int, default=1024)
    size = parser.parse_args().mebibytes << 20
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    connection = Connection(url=ours.recv(), wire="openai", api_key_env="OPENAI_API_KEY")
    server = Server(client(connection, stub.KEY), OPENAI, "openai")
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(size)
        started = time.monotonic()
        answer = server.upload(Path(file.name), "zeros.jsonl")
        seconds = time.monotonic() - started
    ours.send("done")
    assert answer["bytes"] == size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"mebibytes": size >> 20, "peak_rss_mib": peak >> 10, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
