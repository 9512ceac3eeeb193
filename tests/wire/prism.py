"""Prism, a third party's reading of the published contracts, as a server or in front of one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from wire import contract

PROGRAM = Path(__file__).parents[1] / "emulators" / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
NEEDED = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="Prism is not installed: run `make emulators`"),
    pytest.mark.skipif(not contract.available(), reason=contract.WHY_SKIPPED),
]


@contextmanager
def prism(dialect: str, *, before: str | None = None) -> Generator[int]:
    """The port of Prism, answering by a contract; or watching over a server, each violation an error."""
    document = str(contract.SPECS / contract.FILES[dialect])
    what = ["mock", document] if before is None else ["proxy", document, before, "--errors"]
    command = ["node", str(PROGRAM), *what, "--port", "0", "--host", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        found = None
        for line in process.stdout:
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", line):
                break
        assert found, "Prism said no address"
        try:
            yield int(found[1])
        finally:
            process.kill()
