"""The keys that may use the gateway. Compared in constant time, kept only as hashes, never shown."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from finetune_sdk.errors import SpecError

_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """Names and hashes of keys; none at all = everybody on this machine may use it."""

    hashes: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.hashes)

    def owner(self, given: str) -> str | None:
        """The name of the key's owner, None for a wrong key. Takes as long whichever it is."""
        digest, found = _hash(given), None
        for name, known in self.hashes:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def read(path: Path) -> Keys:
    """Keys from a file, a line each: `key`, or `name:key`. Blank lines and lines that start with # are skipped.

    Raises `SpecError` for a file that others may read, that holds no key, or a key that can be guessed.
    """
    try:
        text, mode = path.read_text("utf-8"), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the key file {str(path)!r}: {error}") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SpecError(f"other users can read the key file {str(path)!r}. Run: chmod 600 {path}")
    lines = [line.strip() for line in text.splitlines()]
    found = [_pair(line, number) for number, line in enumerate(lines, 1) if line and not line.startswith("#")]
    if not found:
        raise SpecError(f"the key file {str(path)!r} holds no key; make one: {secrets.__name__}.token_urlsafe()")
    for number, (_, key) in enumerate(found, 1):
        if len(key) < _SHORTEST:
            raise SpecError(f"key {number} in {str(path)!r} is shorter than {_SHORTEST} characters")
    return Keys(tuple((name, _hash(key)) for name, key in found))


def _pair(line: str, number: int) -> tuple[str, str]:
    name, separator, key = line.partition(":")
    return (name.strip(), key.strip()) if separator else (f"key-{number}", line)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
