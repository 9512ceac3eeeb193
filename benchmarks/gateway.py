"""Requests per second and p50/p99 of the gateway beside a bare Starlette handler and, where given, LiteLLM's proxy.

    make litellm
    python benchmarks/gateway.py --litellm .cache/litellm/bin/litellm [--seconds 5] [--upload-mb 1024]

LiteLLM passes through to the gateway's own retrieve, so its figure is what it adds to one and the same request.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx

BARE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def hello(request): return JSONResponse({"object": "list", "data": [], "has_more": False})
app = Starlette(routes=[Route("/v1/fine_tuning/jobs", hello)])
"""
CLIENTS = 16
LITELLM = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}


async def measured(name: str, ask: Callable[[int], Awaitable[httpx.Response]], seconds: float) -> float:
    """Ask from several clients for some seconds; prints and answers requests per second."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while time.perf_counter() < end:
            start = time.perf_counter()
            answer = await ask(number)
            took.append(time.perf_counter() - start)
            assert answer.status_code == 200, answer.text

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    cuts = statistics.quantiles(took, n=100)
    rate = len(took) / seconds
    print(f"{name:28} {rate:8.0f} requests/s   p50 {cuts[49] * 1e3:7.2f} ms   p99 {cuts[98] * 1e3:7.2f} ms")
    return rate


async def until_it_answers(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait for a server."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(6000):
            assert process.poll() is None, f"{url} ended"
            try:
                await client.get(url)
            except httpx.TransportError:
                await asyncio.sleep(0.1)
            else:
                return
    raise SystemExit(f"{url} never answered")


async def bench(seconds: float, litellm: str | None, upload_mb: int) -> None:
    """All of it, in one run."""
    folder = Path(tempfile.mkdtemp())
    (folder / "bare.py").write_text(BARE)
    (folder / "gateway.yaml").write_text("deduplicate_s: 0\n")
    quiet = ["--log-level", "error", "--no-access-log", "--port", "8971"]
    commands = {
        "http://127.0.0.1:8970/v1": [
            "-c", "from finetune_sdk.cli import main; main()", "serve", "--home", str(folder / "home"),
            "--port", "8970", "--config", str(folder / "gateway.yaml"),
        ],
        "http://127.0.0.1:8971/v1": ["-m", "uvicorn", "--app-dir", str(folder), "bare:app", *quiet],
    }  # fmt: skip
    started = {url: subprocess.Popen([sys.executable, *command]) for url, command in commands.items()}
    if litellm is not None:
        env = {**os.environ, "OPENAI_API_BASE": "http://127.0.0.1:8970", "OPENAI_API_KEY": "x", **LITELLM}
        (folder / "litellm.yaml").write_text("model_list: []\n")
        command = [litellm, "--port", "8972", "--host", "127.0.0.1", "--config", str(folder / "litellm.yaml")]
        with (folder / "litellm.log").open("wb") as log:
            started["http://127.0.0.1:8972/openai/v1"] = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        for url, process in started.items():
            await until_it_answers(url, process)
        async with httpx.AsyncClient(timeout=600, trust_env=False, headers={"authorization": "Bearer x"}) as client:
            await compare(client, [*started], seconds, upload_mb, started["http://127.0.0.1:8970/v1"].pid)
    finally:
        for process in started.values():
            process.terminate()
            process.wait()


async def compare(client: httpx.AsyncClient, urls: list[str], seconds: float, upload_mb: int, pid: int) -> None:
    """The figures, the gateway's first."""
    ours, bare, *proxy = urls
    rows = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 20
    file = await client.post(f"{ours}/files", files={"file": ("a.jsonl", rows)}, data={"purpose": "fine-tune"})
    body = {"model": "builtin/tiny", "training_file": file.json()["id"]}
    job = (await client.post(f"{ours}/fine_tuning/jobs", json=body)).json()["id"]
    door = f"{ours}/fine_tuning/jobs"
    await measured("bare Starlette handler", lambda _: client.get(f"{bare}/fine_tuning/jobs"), seconds)
    rate = await measured("gateway retrieve", lambda _: client.get(f"{door}/{job}"), seconds)
    await measured("gateway list (20)", lambda _: client.get(door), seconds)
    for url in proxy:
        theirs = f"{url}/fine_tuning/jobs/{job}"
        other = await measured("LiteLLM pass-through", lambda _, theirs=theirs: client.get(theirs), seconds)
        print(f"the gateway answers {rate / other:.1f} times as many requests as LiteLLM passes through")
    await upload(client, ours, upload_mb, pid)
    await measured("gateway create", lambda _: client.post(door, json=body), min(seconds, 2.0))


async def upload(client: httpx.AsyncClient, url: str, megabytes: int, pid: int) -> None:
    """One large file, and what the server's memory grew to."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="big"\r\n\r\n'
        block = bytes(1 << 20)
        for _ in range(megabytes):
            yield block
        yield b"\r\n--b--\r\n"

    start = time.perf_counter()
    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = await client.post(f"{url}/files", content=pieces(), headers=headers)
    took = time.perf_counter() - start
    assert answer.json()["bytes"] == megabytes << 20, answer.text
    most = next(line for line in _status(pid) if line.startswith("VmHWM"))
    used_mb = int(most.split()[1]) // 1000
    print(f"upload of {megabytes} MB in {took:.1f} s; the server's memory was never above {used_mb} MB")


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--litellm", help="the litellm command of an environment that has litellm[proxy]")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--upload-mb", type=int, default=1024)
    told = parser.parse_args()
    asyncio.run(bench(told.seconds, told.litellm, told.upload_mb))


if __name__ == "__main__":
    main()
