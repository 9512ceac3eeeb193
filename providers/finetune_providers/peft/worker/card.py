"""The model card: what was trained on what, with which settings, and how to load it."""

from __future__ import annotations

from typing import Any

import yaml

from .context import Context

_SCORED = ("reward", "classification")


def text(ctx: Context, *, metrics: dict[str, float], settled: dict[str, Any], task: str | None = None) -> str:
    """README.md with the front matter that the hub reads; `task` is its `pipeline_tag`, None = by the method."""
    request = ctx.request
    method, adapter = request["method"]["kind"], request["adapter"]["kind"]
    name = request["suffix"] or ctx.job_id
    front: dict[str, Any] = {
        "base_model": request["model"],
        "library_name": "transformers" if request["adapter"]["kind"] == "full" else "peft",
        "pipeline_tag": task or ("text-classification" if method in _SCORED else "text-generation"),
        "tags": ["finetune-sdk", method, adapter],
    }
    rows = [f"| {key} | {value:.6g} |" for key, value in sorted(metrics.items())]
    settings = [f"| {key} | {value} |" for key, value in sorted(settled.items()) if value is not None]
    data = [
        f"- {file['role']}: {file['rows']} rows from {file['source']} ({file['format']})"
        for file in request["data_files"]
    ]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(front, sort_keys=False).strip(),
            "---",
            "",
            f"# {name}",
            "",
            f"{request['model']} fine-tuned with {method} ({adapter}) by finetune-sdk.",
            "`receipt.json` beside this folder holds everything needed to repeat the run.",
            "",
            "## Data",
            "",
            *data,
            "",
            "## Results",
            "",
            "| metric | value |",
            "|---|---|",
            *rows,
            "",
            "## Settings",
            "",
            f"Seed {request['seed']}.",
            "",
            "| setting | value |",
            "|---|---|",
            *settings,
            "",
        ]
    )
