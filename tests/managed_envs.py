"""Homes for tests with managed environments: each environment is built once for the whole suite, and kept."""

from __future__ import annotations

import tempfile
from pathlib import Path

ENVS = Path(__file__).parent.parent / ".cache" / "envs"
"""Keyed by the lock's hash and safe for several processes at once, as every environment store is."""


def managed_home(folder: Path | None = None) -> Path:
    """A home of its own, in `folder` (None = a temporary one), whose environments are those of the suite."""
    home = Path(tempfile.mkdtemp(prefix="finetune-home-")) if folder is None else folder
    home.mkdir(parents=True, exist_ok=True)
    ENVS.mkdir(parents=True, exist_ok=True)
    shared = home / "envs"
    if not shared.is_symlink():
        shared.symlink_to(ENVS, target_is_directory=True)
    return home
