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

from finetune_sdk.worker.locks import Lock

Wanted = Literal["auto", "uv", "pip"]


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

    def commands(self, base: Path, folder: Path, lock: Lock) -> list[list[str]]:
        """Make `folder` with the interpreter `base`, then install exactly what `lock` lists.

        The lock was resolved with overrides that pip does not know, so dependencies are not looked at; then those of
        the packages it names, whose dependencies are another set in each build, with the lock as constraints.
        """
        python = str(folder / "bin" / "python")
        if self.uv is None:
            # not compiled: thirty thousand files are, of which a worker imports a tenth (uv does the same)
            quiet = ["--no-input", "--disable-pip-version-check", "--no-compile", "--progress-bar", "off"]
            install = [python, "-I", "-m", "pip", "install", *quiet]
            venv = [str(base), "-I", "-m", "venv", str(folder)]
        else:
            offline = ["--no-index"] if self.pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
            install = [self.uv, "pip", "install", "--python", python, *offline]
            venv = [self.uv, "venv", "--no-project", "--python", str(base), str(folder)]
        file, whole = str(lock.path), lock.with_dependencies
        if whole is None:
            return [venv, [*install, "-r", file]]
        listed = [*install, "--no-deps", "-r", file]
        return [venv, listed, *([[*install, "-c", file, *whole]] if whole else [])]

    def environment(self) -> dict[str, str]:
        """Our variables; for uv with pip's settings translated. What the user told uv directly wins."""
        ours = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        if self.uv is None:
            return ours
        uncached = {} if _writable(_uvs_cache(ours)) else {"UV_NO_CACHE": "1"}  # pip does without one by itself
        return {**in_uvs_words(self.pip), **uncached, **ours}


def _uvs_cache(environment: Mapping[str, str]) -> Path:
    given = environment.get("UV_CACHE_DIR")
    if given:
        return Path(given)
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"


def _writable(folder: Path) -> bool:
    """Whether it can be written, or made where it is missing."""
    there = next((one for one in (folder, *folder.parents) if one.exists()), folder)
    return os.access(there, os.W_OK | os.X_OK)


def in_uvs_words(pip: Mapping[str, str]) -> dict[str, str]:
    """pip's options as uv's variables."""
    lists = {name: pip[name].split() for name in ("find-links", "extra-index-url", "trusted-host") if name in pip}
    said = {
        "UV_FIND_LINKS": ",".join(lists.get("find-links", ())),
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        # of equals pip takes the one from the last index, uv the one from the first that has any
        "UV_INDEX": " ".join(reversed(lists.get("extra-index-url", ()))),
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
