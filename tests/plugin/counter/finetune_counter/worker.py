"""Runs in the environment, knows nothing of the SDK: counts to `steps`, keeps a checkpoint at every tenth."""

import json
import time
from typing import Any


def main(ctx: Any) -> dict[str, Any]:
    if ctx.request["rate"] > 1:
        raise ctx.Failed("learning_rate: it counts at most one at a time")
    kept = ctx.dir / "checkpoints" / "checkpoint-last" / "manifest.json"
    start = json.loads(kept.read_text())["step"] if kept.exists() else 0
    for step in range(start + 1, ctx.request["steps"] + 1):
        time.sleep(0.01)
        ctx.event("step", step=step, loss=1 / step)
        if step % 10 == 0 or ctx.stop:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.with_suffix(".part").write_text(json.dumps({"step": step, "metrics": {}}))
            kept.with_suffix(".part").replace(kept)  # whole or not there
        if ctx.stop:
            return {"status": "paused" if ctx.stop == "pause" else "cancelled"}
    (ctx.dir / "artifacts").mkdir(exist_ok=True)
    (ctx.dir / "artifacts" / "count").write_text(str(ctx.request["steps"]))
    left = {"kind": "model", "path": "artifacts/count", "base_model": ctx.request["model"]}
    return {"model": left["path"], "artifacts": [left]}
