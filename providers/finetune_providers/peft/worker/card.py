"""The model card: what was trained on what, with which settings, and how to load it."""

from __future__ import annotations

from typing import Any

import yaml

from .context import Context


def text(ctx: Context, *, metrics: dict[str, float], settled: dict[str, Any]) -> str:
    """README.md with the front matter that the hub reads."""
    request = ctx.request
    method, adapter = request["method"]["kind"], request["adapter"]["kind"]
    name = request["suffix"] or ctx.job_id
    front: dict[str, Any] = {
        "base_model": request["model"],
        "library_name": "transformers" if request["adapter"]["kind"] == "full" else "peft",
        "pipeline_tag": "text-classification" if method in ("reward", "classification") else "text-generation",
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
