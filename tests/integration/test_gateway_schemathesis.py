"""The gateway judged by schemathesis: whatever the published contract lets a client send, it never answers 5xx,
nothing that the contract does not describe, and it takes nothing that the contract forbids.

`PYTHONPATH=tests python tests/integration/test_gateway_schemathesis.py URL KEY` asks a gateway that runs already, and
longer.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path

import gateway_kit as kit
import pytest
from gateway_kit import KEY, LONG, Gateway, gateway
from wire import contract

SPEC = contract.SPECS / contract.FILES["gateway"]
NEEDED = pytest.mark.skipif(not contract.available(), reason=contract.WHY_SKIPPED)
CHECKS = "ignored_auth,positive_data_acceptance"
"""Left out, as whoever judges this contract must: it names a key for paths that need none, and random ids are 404."""
PATIENCE_S = 900.0


def _asked(
    folder: Path, url: str, key: str, phases: str, *more: str, known: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """schemathesis's verdict; `known` are values of parameters that lead to something."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'{name} = "{value}"' for name, value in (known or {}).items()]
    (folder / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, ""]))
    command = [str(Path(sys.executable).with_name("st")), "run", str(SPEC), "--url", url, "--seed", "1"]
    command += ["--header", f"Authorization: Bearer {key}", "--phases", phases, "--exclude-checks", CHECKS]
    command += ["--suppress-health-check", "all", "--warnings", "off", "--no-color", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=folder)


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    """The command, with a key, as a user would start it."""
    home = tmp_path_factory.mktemp("home")
    file = home / "keys"
    file.write_text(KEY)
    file.chmod(0o600)
    with kit.process(home, "--provider", "peft", "--api-key-file", str(file)) as found:
        yield found


@NEEDED
def test_schemathesis_finds_no_fault(served: Gateway, tmp_path: Path) -> None:
    url = f"{served.url}/v1"
    done = _asked(tmp_path, url, KEY, "examples,coverage,fuzzing,stateful", "--max-examples", "3")

    assert done.returncode == 0, done.stdout[-6000:]
    assert "Tested: 26" in done.stdout


@NEEDED
def test_schemathesis_finds_no_fault_in_what_is_there(tmp_path: Path, train: Path) -> None:
    paths = r"/(fine_tuning/jobs|files|uploads)/\{"
    with gateway(tmp_path / "home", keys=KEY, script=LONG[:2000], deduplicate_s=0) as found:
        file = found.upload(train)
        job = found.create(file)["id"]
        found.until(job, "running")
        body = {"filename": "a.jsonl", "purpose": "fine-tune", "bytes": 9, "mime_type": "text/jsonl"}
        upload = found.client.post("/uploads", json=body).json()["id"]
        known = {"fine_tuning_job_id": job, "file_id": file, "upload_id": upload}
        more = ("--max-examples", "3", "--include-path-regex", paths)
        done = _asked(tmp_path / "st", f"{found.url}/v1", KEY, "coverage,fuzzing", *more, known=known)

    assert done.returncode == 0, done.stdout[-6000:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        told = _asked(Path(scratch), sys.argv[1], sys.argv[2], "examples,coverage,fuzzing,stateful")
    sys.stdout.write(told.stdout)
    raise SystemExit(told.returncode)
