"""How an environment is filled: uv when it is there (seconds, shared files), else the standard library's venv and pip.

uv reads neither pip's variables nor its configuration, so what they say is handed to it in its own words.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Wanted = Literal["auto", "uv", "pip"]
WITH_DEPENDENCIES = "# finetune: install with dependencies"
"""A line of a lock whose packages bring pinned dependencies that differ by build, as torch does for CUDA and CPU."""


def find_uv() -> str | None:
    """Path of the uv program: the installed package's, else the one on PATH; None when there is none."""
    if importlib.util.find_spec("uv") is not None:
        with contextlib.suppress(FileNotFoundError):  # a package without its program
            return str(importlib.import_module("uv").find_uv_bin())
    return shutil.which("uv")


@dataclass(frozen=True, slots=True)
class Installer:
    """The commands that make an environment and fill it from a lock."""

    uv: str | None
    """None = venv and pip."""
    pip: Mapping[str, str] = field(default_factory=dict[str, str])
    """What pip is configured to do, for uv to do the same."""

    @classmethod
    def choose(cls, wanted: Wanted = "auto") -> Installer:
        """uv when it is there. Asking for "uv" without having it gives pip: the result is the same, only later."""
        uv = None if wanted == "pip" else find_uv()
        return cls(uv) if uv is None else cls(uv, pip_says())

    @property
    def name(self) -> str:
        return "pip" if self.uv is None else "uv"

    def commands(self, base: Path, folder: Path, lock: Path) -> list[list[str]]:
        """Make `folder` with the interpreter `base`, then install exactly what `lock` lists."""
        exact = [] if WITH_DEPENDENCIES in lock.read_text(encoding="utf-8").splitlines() else ["--no-deps"]
        python = str(folder / "bin" / "python")
        if self.uv is None:
            install = [python, "-I", "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
            return [[str(base), "-I", "-m", "venv", str(folder)], [*install, *exact, "-r", str(lock)]]
        offline = ["--no-index"] if self.pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
        return [
            [self.uv, "venv", "--no-project", "--python", str(base), str(folder)],
            [self.uv, "pip", "install", "--python", python, *offline, *exact, "-r", str(lock)],
        ]

    def environment(self) -> dict[str, str]:
        """Our variables; for uv with pip's settings translated. What the user told uv directly wins."""
        ours = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        return ours if self.uv is None else {**in_uvs_words(self.pip), **ours}


def in_uvs_words(pip: Mapping[str, str]) -> dict[str, str]:
    """pip's options as uv's variables."""
    lists = {name: pip[name].split() for name in ("find-links", "extra-index-url", "trusted-host") if name in pip}
    said = {
        "UV_FIND_LINKS": ",".join(lists.get("find-links", ())),
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(lists.get("extra-index-url", ())),
        # pip takes the best version of all indexes; without this uv looks into the first that has the name
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in lists else "",
        "UV_INSECURE_HOST": " ".join(lists.get("trusted-host", ())),
        "UV_HTTP_TIMEOUT": pip.get("default-timeout", pip.get("timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "HTTPS_PROXY": pip.get("proxy", ""),
        "UV_PYTHON_DOWNLOADS": "never",  # the interpreter is given; another one would be another environment
    }
    return {name: value for name, value in said.items() if value}


def pip_says() -> dict[str, str]:
    """pip's effective options: its files, then its variables. Without a pip here, the variables alone."""
    variables = {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_")
    }
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL).stdout
    files: dict[str, str] = {}
    for section in ("global", "install"):
        for line in listed.splitlines():
            key, _, value = line.partition("=")
            if key.startswith(f"{section}."):
                files[key.removeprefix(f"{section}.")] = str(ast.literal_eval(value))
    return {**files, **variables}
