"""From `submit` to the end of the first training step, for each worker: where the time goes, and what of it is ours.

    python benchmarks/worker_overhead.py [--home DIR] [--providers peft autotrain unsloth] [--repeat 3] [--format json]

The environments are built before anything is measured, in DIR (default: the SDK's home). The job: SFT of all weights of
a tiny random Llama on 200 short conversations, so that loading and learning weigh nothing. Wall seconds of the fastest
run, CPU seconds beside them: on a busy machine only those can be compared.

"environment" finds and checks the built one; "start" is the time from asking for processes to the worker's first line.
"imports", "model", "set-up" and "step" are the vendors' libraries. "ours" is everything else: planning, reading and
writing the rows, encoding, and what our code does between the vendors' calls.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from finetune_sdk import registry
from finetune_sdk.home import home_folder
from finetune_sdk.spec import JobSpec
from finetune_sdk.worker import process
from finetune_sdk.worker.places import Here
from finetune_sdk.worker.provider import WorkerProvider

ROOT = Path(__file__).resolve().parent.parent
PROBE = ROOT / "benchmarks" / "worker_probe.py"
PARTS = ("ours", "environment", "start", "imports", "model", "set-up", "step")
PATIENCE_S = 600.0
Spent: TypeAlias = tuple[float, float]
"""Wall and CPU seconds."""


def main() -> None:
    """Measure and print."""
    wanted = _arguments()
    home = home_folder(wanted.home)
    with tempfile.TemporaryDirectory() as folder:
        model = _model(Path(folder))
        found = {name: _fastest(name, model, home, wanted.repeat) for name in wanted.providers}
    if wanted.format == "json":
        print(json.dumps(found, indent=1))
    else:
        _print(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home")
    parser.add_argument("--providers", nargs="+", default=["peft", "autotrain", "unsloth"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--format", choices=["text", "json"], default="text")
    return parser.parse_args()


def _model(folder: Path) -> Path:
    """The tiny model of the example with three providers, made by a process that may import torch."""
    maker = ROOT / "examples" / "12_three_providers"
    code = "import make_model, pathlib, sys; make_model.main(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(folder / "model")], cwd=maker, check=True, capture_output=True)
    return folder / "model"


def _fastest(name: str, model: Path, home: Path, repeat: int) -> dict[str, Spent]:
    provider = registry.load(name, home=home)
    assert isinstance(provider, WorkerProvider), f"{name} runs no worker"
    probed = str(provider.worker)
    type(provider).worker = PROBE
    clock = _Environment()
    Here.python(_place(provider), "auto")  # built, if it is not yet
    runs = [_once(provider, probed, model, clock) for _ in range(repeat)]
    return min(runs, key=lambda parts: sum(wall for wall, _ in parts.values()))


class _Environment:
    """The time that finding and checking the interpreter took the last time."""

    def __init__(self) -> None:
        self.spent: Spent = (0.0, 0.0)
        find = Here.python

        def timed(here: Here, wanted: str) -> Path:
            began = _now()
            found = find(here, wanted)
            self.spent = _since(began)
            return found

        Here.python = timed  # type: ignore[method-assign]


def _place(provider: WorkerProvider) -> Here:
    place = provider.place("local")
    assert isinstance(place, Here)
    return place


def _once(provider: WorkerProvider, probed: str, model: Path, clock: _Environment) -> dict[str, Spent]:
    key = f"overhead-{os.getpid()}-{time.monotonic_ns()}"
    folder = _place(provider).folder(key)
    began, at = _now(), time.time()
    plan = provider.plan(_spec(provider.name, model))
    provider.submit(replace(plan, request={**plan.request, "probed": probed}), key=key)
    submitted = _since(began)
    try:
        _until(lambda: (folder / "probe.json").exists() or process.poll(folder).status.terminal)
        if not (folder / "probe.json").exists():
            sys.exit(f"{provider.name}: {process.poll(folder).error}")
        told = json.loads((folder / "probe.json").read_text())
        launched = (folder / "spec.json").stat().st_mtime  # written when all is ready for the process
    finally:
        process.cancel(folder)
        _until(lambda: process.poll(folder).status.terminal)
        provider.forget(key)
    spent: Mapping[str, Spent] = told["spent"]
    sdk = (launched - at - clock.spent[0], submitted[1] - clock.spent[1])
    own = spent["ours"]
    return {
        "environment": clock.spent,
        "start": (told["at"] - launched, told["cpu"]),
        **{part: spent.get(part, (0.0, 0.0)) for part in ("imports", "model", "set-up", "step")},
        "ours": (sdk[0] + own[0], sdk[1] + own[1]),
    }


def _spec(name: str, model: Path) -> JobSpec:
    return JobSpec.model_validate(
        {
            "provider": name,
            "model": str(model),
            "data": {"train": str(ROOT / "examples" / "01_quickstart" / "tone.jsonl"), "max_rows": 200},
            "method": {"kind": "sft", "train_on": "all"},
            "adapter": "full",
            "hyperparameters": {"max_steps": 5, "batch_size": 4, "max_seq_length": 128},
            "compute": {"threads": 1},
            "seed": 0,
        }
    )


def _until(claim: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not claim():
        if time.monotonic() > give_up_s:
            sys.exit(f"no first step within {PATIENCE_S:g} s")
        time.sleep(0.02)


def _now() -> Spent:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter(), time.process_time() + children.ru_utime + children.ru_stime


def _since(began: Spent) -> Spent:
    now = _now()
    return now[0] - began[0], now[1] - began[1]


def _print(found: Mapping[str, Mapping[str, Spent]]) -> None:
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"wall / CPU seconds up to the end of the first step; {os.cpu_count()} cores, load {load}")
    print(f"{'':12}" + "".join(f"{name:>16}" for name in found))
    for part in PARTS:
        print(f"{part:12}" + "".join(f"{_pair(parts[part]):>16}" for parts in found.values()))
    totals = [(sum(p[0] for p in parts.values()), sum(p[1] for p in parts.values())) for parts in found.values()]
    print(f"{'total':12}" + "".join(f"{_pair(total):>16}" for total in totals))


def _pair(spent: Spent) -> str:
    return f"{spent[0]:.2f} / {spent[1]:.2f}"


if __name__ == "__main__":
    main()
