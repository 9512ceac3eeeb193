"""A worker that counts, in a process without anything: what the tests of rented machines send away."""

import os
import time
from pathlib import Path
from typing import Any


def main(ctx: Any) -> dict[str, Any]:
    asked = ctx.request
    print("my token is", os.environ["HF_TOKEN"], flush=True)  # noqa: T201 - a worker that tells what it should not
    ctx.event(f"starting with {os.environ['HF_TOKEN']}")
    rows = Path("data/train.jsonl").read_text().count("\n")
    for step in range(1, asked["steps"] + 1):
        ctx.event("step", step=step, loss=1 / step)
        if ctx.stop:
            return {"status": "cancelled"}
        time.sleep(asked["pause_s"])
        while asked["until"] and not (Path(asked["until"]).exists() or ctx.stop):
            print("waiting", flush=True)  # noqa: T201 - something new to report
            time.sleep(0.1)
    if asked["fails"]:
        raise ctx.Failed("the loss is NaN")
    made = ctx.dir / "artifacts" / "model"
    made.mkdir(parents=True)
    (made / "weights.safetensors").write_bytes(bytes(range(256)) * rows)
    (made / "config.json").write_text(f'{{"rows": {rows}}}')
    left = {"kind": "model", "path": "artifacts/model", "base_model": asked["model"]}
    return {"model": str(made), "metrics": {"rows": rows}, "artifacts": [left]}
