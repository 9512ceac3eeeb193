"""Files from the web: `https://...` and `hf://datasets/OWNER/NAME[@REVISION][/FILE|/FOLDER|/GLOB][#SPLIT]`.

They are fetched into a cache, and asked again with their ETags. `HF_ENDPOINT` names another hub; `HF_TOKEN` is sent to
that host only, never to where it redirects.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import platformdirs

from finetune_sdk.data.download import download, shown
from finetune_sdk.data.hub import Place, files_of
from finetune_sdk.errors import DataError

_WEB = ("https://", "http://")
_HUB = "hf://"
_ELSEWHERE = ("s3://", "gs://", "az://", "abfs://", "ftp://", "file://")


def is_remote(source: str) -> bool:
    """Whether the source is an address, not a path."""
    return source.startswith((*_WEB, _HUB, *_ELSEWHERE))


def fetched(source: str, is_data: Callable[[Path], bool]) -> list[Path]:
    """The files behind an address, in a stable order; `is_data` chooses among a dataset's. Raises `DataError`."""
    if source.startswith(_ELSEWHERE):
        raise DataError(f"{shown(source)}: this kind of address is not read; download the file and give its path.")
    if not source.startswith(_HUB):
        return [_one(source, Path(urlsplit(source).path).name or "data", token=None, explain=_refusal)]
    place = Place.of(source)
    token = os.environ.get("HF_TOKEN")
    if place.one_file:
        return [_one(place.address(place.path), PurePosixPath(place.path).name, token=token, explain=_hub_refusal)]
    found = files_of(place, token, is_data, _hub_refusal)
    return [_one(place.address(name), name, token=token, explain=_hub_refusal, base=place.key) for name in found]


def _one(url: str, name: str, *, token: str | None, explain: Callable[[int], str], base: str | None = None) -> Path:
    """The cached copy; files of one dataset keep their folders, so that what lies beside them is found."""
    path = _cache() / hashlib.sha256((base or url).encode()).hexdigest()[:16] / name
    download(url, path, token=token, explain=explain)
    return path


def _cache() -> Path:
    home = os.environ.get("FINETUNE_HOME")
    return (Path(home).expanduser() if home else platformdirs.user_cache_path("finetune_sdk")) / "fetched"


def _refusal(status: int) -> str:
    if status in (401, 403):
        return f"the server refuses access (status {status})."
    return "there is no such file (status 404)." if status == 404 else f"the server answered with status {status}."


def _hub_refusal(status: int) -> str:
    if status in (401, 403):
        return f"the server refuses access (status {status}). Set HF_TOKEN, and accept the dataset's terms on its page."
    return _refusal(status)
