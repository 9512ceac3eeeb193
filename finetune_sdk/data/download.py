"""One address to one file: whole, resumed where it broke off, asked again with its ETag, or an error that says why."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from finetune_sdk.data.jsonvalue import Object, as_object
from finetune_sdk.data.progress import going
from finetune_sdk.data.writing import AtomicFile
from finetune_sdk.errors import DataError

_TIMEOUT_S = 30
_BLOCK = 1 << 20
_ATTEMPTS = 4
"""Connections tried for one file; each goes on where the last one ended."""


class _SameSafety(urllib.request.HTTPRedirectHandler):
    """Redirects lead to web addresses only, and from encrypted ones to encrypted ones."""

    def redirect_request(  # noqa: PLR0917 - the standard library's signature
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if after not in ("http", "https") or (before == "https" and after != "https"):
            raise urllib.error.URLError(f"it redirects to {after}://, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_opener = urllib.request.build_opener(_SameSafety)


def ask(url: str, headers: Mapping[str, str], token: str | None = None) -> Any:
    """The open answer. The token goes to this host only. Raises what `urllib` raises."""
    request = urllib.request.Request(url, headers={"User-Agent": "finetune-sdk", **headers})  # noqa: S310 - http(s) only
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    return _opener.open(request, timeout=_TIMEOUT_S)


def download(url: str, path: Path, *, token: str | None, explain: Callable[[int], str]) -> None:
    """Fetch `url` into `path` unless the server says that what is there is unchanged. Raises `DataError`.

    What broke off stays beside it and is continued, next time too, while the server still offers the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with _alone(path):
                _fetch(url, path, token)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 304:
                return
            if error.code == 416 and _partial(path).exists():  # the file is shorter now than what we have of it
                _forget(path)
                continue
            raise DataError(f"{shown(url)}: {explain(error.code)}") from None
        except (OSError, HTTPException) as error:
            if attempt < _ATTEMPTS and isinstance(error, _BrokeOff | ConnectionError | TimeoutError):
                continue
            raise DataError(_failed(url, error)) from None
        else:
            return


class _BrokeOff(HTTPException):
    """The connection ended before the file did."""


def _failed(url: str, error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    if isinstance(error, _BrokeOff):
        return f"{shown(url)}: {reason}, {_ATTEMPTS} times. Try again later: it will go on from there."
    return f"{shown(url)}: cannot be fetched: {reason}. Without a network, give a file on this machine."


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Inside this block no other process writes the file's partial copy."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError:  # not on Windows
        yield
        return
    with path.with_name(f"{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(url: str, path: Path, token: str | None) -> None:
    headers: dict[str, str] = {}
    known, begun = _noted(path), _noted(_partial(path))
    have = _size(_partial(path)) if begun.get("etag") else 0
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": str(begun["etag"])}
    elif known.get("etag") and known.get("bytes") == _size(path):
        headers["If-None-Match"] = str(known["etag"])
    with ask(url, headers, token) as answer:
        _refuse_pages(answer, url)
        resumed = answer.status == 206
        _keep(answer, path, have if resumed else 0, url)


def _refuse_pages(answer: Any, url: str) -> None:
    kind = str(answer.headers.get("Content-Type") or "").split(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        where = "" if shown(answer.url) == shown(url) else f" (from {shown(answer.url)})"
        raise DataError(
            f"{shown(url)}: the server sent a web page{where}, not a file: is this the address of a page about it, or"
            " does it ask for a login? Give the address that a browser downloads the file from."
        )


def _keep(answer: Any, path: Path, have: int, url: str) -> None:
    partial = _partial(path)
    left = answer.headers.get("Content-Length")
    total = have + int(left) if left is not None else None
    if left is not None:
        _refuse_without_room(path.parent, int(left), url)
    etag = answer.headers.get("ETag")
    _note(partial, {"etag": None if etag is None or etag.startswith("W/") else etag})
    size = have
    with partial.open("ab" if have else "wb") as file, going(lambda: size, path.name, total or 0):
        while block := answer.read(_BLOCK):
            file.write(block)
            size += len(block)
        file.flush()
        os.fsync(file.fileno())
    if total is not None and size != total:
        raise _BrokeOff(f"the answer ended after {size:,} of {total:,} bytes")
    _note(path, {"etag": etag, "bytes": size, "sha256": _sha256(partial)})
    partial.replace(path)
    _sidecar(partial).unlink(missing_ok=True)


def _refuse_without_room(folder: Path, size: int, url: str) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{shown(url)}: {size / 1e6:,.0f} MB do not fit into {str(folder)!r}, where {free / 1e6:,.0f} MB are free."
            " Make room, or set FINETUNE_HOME to another disk."
        )


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin.json")


def _forget(path: Path) -> None:
    _partial(path).unlink(missing_ok=True)
    _sidecar(_partial(path)).unlink(missing_ok=True)


def _noted(path: Path) -> Object:
    try:
        return as_object(json.loads(_sidecar(path).read_text(encoding="utf-8"))) or {}
    except (OSError, ValueError):
        return {}


def _note(path: Path, facts: Object) -> None:
    with AtomicFile(_sidecar(path)) as file:
        file.write(json.dumps(facts).encode())
        file.commit()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shown(url: str) -> str:
    """The address without its query or user, which may hold a signature or a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
