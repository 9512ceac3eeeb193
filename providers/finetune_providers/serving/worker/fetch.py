# pyright: basic
"""Fetch a model into huggingface_hub's cache: `python -I start.py fetch JOB`. The answer: `result.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

_WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "README.md"]
_UNWANTED = ["original/*", "onnx/*", "*/*.safetensors", "metal/*"]  # other forms of the same weights
_ANSWER_S = 30.0


def run(job_file: str) -> None:
    """{"path", "error", "kind"}: kind is `unreachable`, `gated`, `refused` or `unknown`."""
    path = Path(job_file)
    job: dict[str, Any] = json.loads(path.read_text())
    result: dict[str, Any] = {"path": None, "error": None, "kind": None}
    try:
        result["path"] = _fetch(job)
    except GatedRepoError:
        result |= _told("gated", f"{job['repo']} is gated: ask for access on its page, then set HF_TOKEN")
    except RepositoryNotFoundError:
        result |= _told("unknown", f"there is no model {job['repo']!r} on the Hub, or it is private: set HF_TOKEN")
    except RevisionNotFoundError:
        result |= _told("unknown", f"{job['repo']} has no revision {job['revision']!r}")
    except LocalEntryNotFoundError as exc:
        result |= _told("unreachable", _absent(job, exc))
    except HfHubHTTPError as exc:
        kind = "refused" if exc.response.status_code in (401, 403) else "unreachable"
        result |= _told(kind, f"fetching {job['repo']}: the Hub answered {exc.response.status_code}")
    (path.parent / "result.json").write_text(json.dumps(result))


def _fetch(job: dict[str, Any]) -> str:
    return snapshot_download(
        job["repo"],
        revision=job["revision"],
        allow_patterns=_WANTED,
        ignore_patterns=_UNWANTED,
        etag_timeout=_ANSWER_S,
    )


def _absent(job: dict[str, Any], exc: Exception) -> str:
    reason = exc.__cause__ if exc.__cause__ is not None else exc
    return (
        f"{job['repo']} is not in the cache on this machine, and the Hub cannot be asked ({type(reason).__name__}). "
        f"Where there is a network: hf download {job['repo']}; then bring its cache here (HF_HOME names it), or "
        "give the model's folder instead of its name."
    )


def _told(kind: str, error: str) -> dict[str, Any]:
    return {"kind": kind, "error": error}
