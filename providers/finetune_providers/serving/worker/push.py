# pyright: basic
"""Push a folder to the Hugging Face Hub: `python -I start.py push JOB`; `result.json` beside JOB is the answer.

The token comes from the environment or the user's login. Weights go as safetensors only.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
from huggingface_hub import HfApi, set_client_factory
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import _http

WANTED = ["*.safetensors", "*.json", "*.jinja", "*.md", "*.txt", "*.model"]
_CONNECT_S, _ANSWER_S = 10.0, 120.0
_ADVICE = {
    401: "the token is wrong or was revoked: hf auth login, or set HF_TOKEN",
    403: "the token may not write there",
    402: "the account's storage is used up",
}


class _Refused(Exception):
    """The push is not done; the text says why."""


def run(job_file: str) -> None:
    """{"url", "revision", "error"}."""
    path = Path(job_file)
    job: dict[str, Any] = json.loads(path.read_text())
    set_client_factory(_client)
    result: dict[str, Any] = {"url": None, "revision": None, "error": None}
    try:
        result |= _push(HfApi(), job)
    except _Refused as exc:
        result["error"] = str(exc)
    except LocalTokenNotFoundError:
        result["error"] = "there is no token of the Hugging Face Hub: hf auth login, or set HF_TOKEN"
    except OfflineModeIsEnabled:
        result["error"] = "HF_HUB_OFFLINE is set, so nothing was sent"
    except HfHubHTTPError as exc:
        said = exc.server_message or str(exc).strip().partition("\n")[0]
        advice = _ADVICE.get(exc.response.status_code)
        result["error"] = f"the Hub answered {exc.response.status_code}: {said}" + (f". {advice}" if advice else "")
    except httpx.TransportError as exc:
        result["error"] = f"no answer from the Hub ({type(exc).__name__}); what was sent is kept: push again"
    (path.parent / "result.json").write_text(json.dumps(result))


def _client() -> Any:
    """huggingface_hub's own client waits for ever."""
    client = _http.default_client_factory()
    client.timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
    return client


def _private(api: HfApi, repo: str) -> bool | None:
    """Whether others cannot see the repository; None = there is none yet."""
    try:
        return bool(api.model_info(repo, revision="main").private)
    except RepositoryNotFoundError:
        return None


def _create(api: HfApi, repo: str, *, private: bool) -> None:
    """Exactly once: its name is what a request whose answer was lost is known by."""
    try:
        api.create_repo(repo, private=private)
    except (HfHubHTTPError, httpx.TransportError) as exc:
        certain = isinstance(exc, HfHubHTTPError) and exc.response.status_code < 500 and exc.response.status_code != 409
        if certain or _private(api, repo) is not private:
            raise


def _push(api: HfApi, job: dict[str, Any]) -> dict[str, Any]:
    repo = job["repo"]
    private = _private(api, repo)
    if private is None:
        _create(api, repo, private=not job["public"])
    elif not job["public"] and not private:
        raise _Refused(f"{repo} exists and everybody can see it: say that it may be public (public=True, `--public`)")
    done = api.upload_folder(
        repo_id=repo,
        folder_path=job["folder"],
        allow_patterns=WANTED,
        commit_message=job["message"],
    )
    return {"url": str(done.commit_url), "revision": done.oid}
