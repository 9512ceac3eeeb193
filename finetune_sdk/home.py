"""The home folder: job store, job folders, worker environments.

An argument wins over the variable `FINETUNE_HOME`, which wins over the platform's data folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from finetune_sdk.errors import StoreError

VARIABLE = "FINETUNE_HOME"


def home_folder(explicit: str | Path | None = None) -> Path:
    """Where the home is, as an absolute path. Creates nothing; None and "" mean "not given"."""
    chosen = explicit or os.environ.get(VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else platformdirs.user_data_path("finetune_sdk")


def open_home(explicit: str | Path | None = None) -> Path:
    """The home, created if need be (for this user only) and known to be writable. Raises `StoreError`."""
    home = home_folder(explicit)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(home, exc.strerror or str(exc)) from exc
    if not os.access(home, os.W_OK | os.X_OK):
        raise _unusable(home, "it is read-only for this user")
    return home


def job_folder(home: Path, job_id: str) -> Path:
    """The folder of one job."""
    return home / "jobs" / job_id


def _unusable(home: Path, why: str) -> StoreError:
    return StoreError(
        f"the home folder {str(home)!r} cannot be written: {why}. "
        f"Nothing was sent. Name another one with `--home DIR`, `home=` or the environment variable {VARIABLE}."
    )
