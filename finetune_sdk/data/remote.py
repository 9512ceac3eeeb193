"""Files from the web: `https://...` and `hf://datasets/OWNER/NAME[@REVISION]/FILE`, fetched once into a cache.

`HF_ENDPOINT` names another hub; `HF_TOKEN` is sent to that host only, never to where it redirects.
"""

from __future__ import annotations

import hashlib
import json
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import platformdirs

from finetune_sdk.data.jsonvalue import as_object
from finetune_sdk.data.writing import AtomicFile
from finetune_sdk.errors import DataError

_WEB = ("https://", "http://")
_HUB = "hf://"
_ELSEWHERE = ("s3://", "gs://", "az://", "abfs://", "ftp://", "file://")
_TIMEOUT_S = 30
_BLOCK = 1 << 20


def is_remote(source: str) -> bool:
    """Whether the source is an address, not a path."""
    return source.startswith((*_WEB, _HUB, *_ELSEWHERE))


def fetched(source: str) -> Path:
    """The file behind an address, from the cache while the server says it is unchanged. Raises `DataError`."""
    if source.startswith(_ELSEWHERE):
        raise DataError(f"{_shown(source)}: this kind of address is not read; download the file and give its path.")
    url = _hub_url(source) if source.startswith(_HUB) else source
    name = Path(urlsplit(url).path).name or "data"
    path = _cache() / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    known = _known(path)
    request = urllib.request.Request(url, headers={"User-Agent": "finetune-sdk"})  # noqa: S310 - http(s) only
    token = os.environ.get("HF_TOKEN")
    if source.startswith(_HUB) and token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if known.get("etag"):
        request.add_header("If-None-Match", str(known["etag"]))
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            _keep(answer, path)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 304:
            raise DataError(f"{_shown(source)}: {_refusal(error.code, source)}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(
            f"{_shown(source)}: cannot be fetched: {reason}. Without a network, give a file on this machine."
        ) from None
    return path


def _cache() -> Path:
    home = os.environ.get("FINETUNE_HOME")
    return (Path(home).expanduser() if home else platformdirs.user_cache_path("finetune_sdk")) / "fetched"


def _hub_url(source: str) -> str:
    parts = source.removeprefix(_HUB).split("/")
    if len(parts) < 4 or parts[0] != "datasets" or not all(parts) or ".." in parts:
        raise DataError(f"{source}: name a file of a dataset: `hf://datasets/OWNER/NAME[@REVISION]/FILE`.")
    name, _, revision = parts[2].partition("@")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    file = quote("/".join(parts[3:]))
    return f"{endpoint}/datasets/{parts[1]}/{name}/resolve/{quote(revision or 'main', safe='')}/{file}"


def _known(path: Path) -> dict[str, Any]:
    """What is known of the cached file; nothing when it is not whole."""
    try:
        known = as_object(json.loads(_sidecar(path).read_text(encoding="utf-8"))) or {}
        return known if path.stat().st_size == known.get("bytes") else {}
    except (OSError, ValueError):
        return {}


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _keep(answer: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with AtomicFile(path) as file:
        while block := answer.read(_BLOCK):
            file.write(block)
            digest.update(block)
            size += len(block)
        expected = answer.headers.get("Content-Length")
        if expected is not None and int(expected) != size:
            raise HTTPException(f"the answer ended after {size:,} of {int(expected):,} bytes")
        file.commit()
    origin = {"etag": answer.headers.get("ETag"), "bytes": size, "sha256": digest.hexdigest()}
    with AtomicFile(_sidecar(path)) as note:
        note.write(json.dumps(origin).encode())
        note.commit()


def _refusal(status: int, source: str) -> str:
    if status in (401, 403):
        hint = " Set HF_TOKEN, and accept the dataset's terms on its page." if source.startswith(_HUB) else ""
        return f"the server refuses access (status {status}).{hint}"
    return "there is no such file (status 404)." if status == 404 else f"the server answered with status {status}."


def _shown(source: str) -> str:
    """The address without its query or user, which may hold a signature or a password."""
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
