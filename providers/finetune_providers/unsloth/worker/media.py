# pyright: basic
"""Pictures and sounds of rows: `data:` URLs, and files beside the data. Nothing is fetched."""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Unreadable(Exception):
    """A picture or a sound that cannot be used, and why."""


def address(part: Mapping[str, Any]) -> str | None:
    """Where the picture or sound of a part lies; None for a part that is neither."""
    kind = part.get("type")
    if kind == "input_audio":
        given = part["input_audio"]
        return f"data:audio/{given.get('format', 'wav')};base64,{given['data']}"
    if kind in ("image_url", "audio_url"):
        found = part[kind]
        return found["url"] if isinstance(found, Mapping) else found
    return part["audio"] if kind == "audio" else None


def place(url: str, source: Mapping[str, Any] | None, folder: str) -> Path:
    """The file that is meant: absolute, a `file:` URL, or relative to the file of its row (itself to `folder`)."""
    path = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else Path(url)
    if path.is_absolute():
        return path
    return Path(folder) / Path(str((source or {}).get("file", ""))).parent / path


def content(url: str, source: Mapping[str, Any] | None, folder: str) -> bytes:
    """The bytes of a picture or sound."""
    if url.startswith("data:"):
        head, _, body = url.partition(",")
        if not head.endswith(";base64"):
            return unquote(body).encode("latin-1")
        try:
            return base64.b64decode(body, validate=True)
        except ValueError as exc:
            raise Unreadable(f"its base64 is broken: {exc}") from exc
    if "://" in url and not url.startswith("file:"):
        raise Unreadable(f"{url[:80]} is not fetched; download it first")
    path = place(url, source, folder)
    try:
        return path.read_bytes()
    except OSError as exc:
        raise Unreadable(f"{path}: {exc.strerror}") from exc


def picture(data: bytes) -> Any:
    """An RGB picture."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only where there are pictures

    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as exc:
        raise Unreadable(f"it is no picture that Pillow reads: {exc}") from exc


def sound(data: bytes, rate: int) -> Any:
    """One channel of float32 samples, `rate` a second."""
    soundfile: Any = importlib.import_module("soundfile")  # only where there are sounds
    resample_poly: Any = importlib.import_module("scipy.signal").resample_poly
    try:
        samples, given = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as exc:
        raise Unreadable(f"it is no sound that libsndfile reads: {exc}") from exc
    mono = samples.mean(axis=1)
    if not len(mono):
        raise Unreadable("it is silent: it has no samples")
    return mono if given == rate else resample_poly(mono, rate, given).astype("float32")
