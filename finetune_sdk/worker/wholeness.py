"""Whether an environment still has what was installed: every file that its packages recorded, at its recorded size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def count(environment: Path) -> int:
    """How many recorded files there are now. Written into the mark of a finished environment."""
    return sum(1 for _ in _recorded(environment))


def damage(environment: Path, files: int) -> str | None:
    """What is wrong with an environment that had so many recorded files; None when nothing is.

    A look at names and sizes, a fraction of a second: it finds deleted and cut files and packages, no flipped bits.
    """
    seen = 0
    for path, size in _recorded(environment):
        seen += 1
        try:
            found = os.stat(path).st_size  # noqa: PTH116 - ten thousands of them
        except OSError:
            return f"{path} is gone"
        if found != size:
            return f"{path} has {found} bytes instead of {size}"
    return None if seen == files else f"it lists {seen} installed files instead of {files}"


def _recorded(environment: Path) -> Iterator[tuple[str, int]]:
    """Files and sizes of all RECORDs. Scripts are left out (installers rewrite them), and what Python compiles."""
    for packages in environment.glob("lib/python*/site-packages"):
        for record in packages.glob("*.dist-info/RECORD"):
            for line in record.read_text(encoding="utf-8", errors="replace").splitlines():
                path, _, size = line.rpartition(",")
                path = path.rpartition(",")[0]
                if size.isdigit() and not path.startswith(('"', "..", "/")) and not path.endswith(".pyc"):
                    yield f"{packages}/{path}", int(size)
