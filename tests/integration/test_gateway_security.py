"""What keeps strangers out of the gateway, and clients inside their bounds."""

from __future__ import annotations

import ctypes
import hmac
import os
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gateway_kit as kit
import httpx
import pytest
from click.testing import CliRunner
from gateway_kit import KEY, Gateway, gateway

from finetune_sdk.cli.serve import command
from finetune_sdk.errors import SpecError
from finetune_sdk.gateway import guard, keys

OTHER = "other-key-0123456789abcdef"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with gateway(
        tmp_path_factory.mktemp("home"), keys=f"team:{KEY}\n{OTHER}\n", python_graders=True, grader_seconds=2
    ) as found:
        yield found


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": KEY}, {"api-key": "wrong"}],
)
def test_nobody_comes_in_without_a_key(locked: Gateway, headers: Mapping[str, str]) -> None:
    answer = httpx.get(f"{locked.url}/v1/files", headers=headers, trust_env=False, timeout=kit.PATIENCE_S)

    assert answer.status_code == 401
    assert locked.error(answer)["code"] == "invalid_api_key"
    assert KEY not in answer.text


def test_every_key_is_compared_whichever_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text(f"one:{KEY}\ntwo:{OTHER}\n")
    file.chmod(0o600)
    known, compared = keys.read(file), list[bool]()
    real = hmac.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        compared.append(real(one, other))
        return compared[-1]

    monkeypatch.setattr(hmac, "compare_digest", counted)
    found = [known.owner(key) for key in (KEY, OTHER, "wrong")]

    assert found == ["one", "two", None]
    assert len(compared) == 6
    assert KEY not in repr(known)


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        (KEY, 0o644, "chmod 600"),
        ("# nothing\n", 0o600, "holds no key"),
        ("short\n", 0o600, "shorter than"),
    ],
)
def test_a_key_file_that_protects_nothing_is_refused(tmp_path: Path, text: str, mode: int, why: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(mode)

    with pytest.raises(SpecError, match=why) as caught:
        keys.read(file)
    assert KEY not in str(caught.value)


def test_other_machines_are_let_in_only_with_a_key(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--host", "0.0.0.0", "--port", "0", "--home", str(tmp_path)])

    assert isinstance(done.exception, SpecError)
    assert "--api-key-file" in str(done.exception)


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}])
def test_a_page_of_another_site_cannot_use_a_gateway_without_keys(tmp_path: Path, headers: Mapping[str, str]) -> None:
    with gateway(tmp_path / "home") as found:
        answer = found.client.get("/files", headers=headers)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_pages_of_other_origins_are_let_in_only_by_name(tmp_path: Path) -> None:
    good, evil = {"origin": "https://good.example"}, {"origin": "https://evil.example"}
    with gateway(tmp_path / "home", keys=KEY, cors_origins=["https://good.example"]) as found:
        asked = found.client.options("/files", headers={**good, "access-control-request-method": "POST"})
        answered = found.client.get("/files", headers=good)
        refused = found.client.get("/files", headers=evil)

    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "https://good.example")
    assert answered.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/abs/olute.jsonl", "olute.jsonl"),
        (".hidden", "_hidden"),
        ("..", "_"),
        ("abc<script>.jsonl", "abc_script_.jsonl"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_files_name_leads_nowhere(locked: Gateway, given: str, kept: str) -> None:
    files = {"file": (given, b"{}")}
    answer = locked.client.post("/files", files=files, data={"purpose": "user_data"}).json()

    assert "/" not in answer["filename"]
    assert not answer["filename"].startswith(".")
    assert answer["filename"].startswith(kept[:3])
    assert sorted(path.name for path in (locked.home / "gateway").iterdir() if path.is_dir()) == [
        "files", "incoming", "jobs", "uploads",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "path", ["/v1/files/..%2f..%2fjobs.db/content", "/static/../app.py", "/static/%2e%2e%2fapp.py"]
)
def test_a_path_leads_to_no_other_file(locked: Gateway, path: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.get(f"{locked.url}{path}", headers=headers, trust_env=False, timeout=kit.PATIENCE_S)

    assert answer.status_code == 404


def test_a_key_has_its_own_allowance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = time.monotonic()
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: moment))  # nothing grows back meanwhile
    with gateway(tmp_path / "home", keys=f"{KEY}\n{OTHER}", requests_per_minute=12) as found:
        statuses = [found.client.get("/models").status_code for _ in range(4)]
        refused = found.client.get("/models")
        other = found.client.get("/models", headers={"authorization": f"Bearer {OTHER}"})

    assert (statuses[:2], refused.status_code, other.status_code) == ([200, 200], 429, 200)
    assert found.error(refused)["type"] == "rate_limit_error"
    assert int(refused.headers["retry-after"]) >= 1


GRADERS = {
    "network": "import socket\n    socket.socket()",
    "process": "import os\n    os.fork()",
    "command": "import subprocess\n    subprocess.run(['true'])",
    "file": "open('FOLDER/was-here', 'w').write('x')",
    "memory": "return len(bytearray(8 << 30))",
    "read": "return len(open('FOLDER/secret').read())",
    "servers variables": "return len(open('/proc/PARENT/environ').read())",
    "time": "while True: pass",
    "waiting": "import time\n    time.sleep(600)",
    "threads": "import threading\n    threading.Thread(target=print).start()",
    "exit": "import os\n    os._exit(0)",
}


HIDDEN = pytest.mark.skipif(
    ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1, reason="this kernel has no Landlock"
)
READING = ("read", "servers variables")


@pytest.mark.parametrize("deed", [pytest.param(one, marks=HIDDEN if one in READING else ()) for one in GRADERS])
def test_a_python_grader_is_locked_in(locked: Gateway, deed: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1")
    body = GRADERS[deed].replace("FOLDER", str(tmp_path)).replace("PARENT", str(os.getpid()))
    source = f"def grade(sample, item):\n    {body}\n    return 1.0\n"
    grader = {"type": "python", "name": "g", "source": source}
    answer = locked.client.post("/fine_tuning/alpha/graders/run", json={"grader": grader, "model_sample": "x"}).json()

    assert answer["reward"] == 0.0
    assert answer["metadata"]["errors"]["python_grader_runtime_error"] is True
    assert not (tmp_path / "was-here").exists()


def test_a_python_grader_grades(locked: Gateway) -> None:
    body = "    print('hello')\n    return len(sample['output_text']) / item['n']\n"
    source = "import json, re\ndef grade(sample, item):\n" + body
    grader = {"type": "python", "name": "g", "source": source, "image_tag": "2025-05-08"}
    order = {"grader": grader, "item": {"n": 4}, "model_sample": "xy"}

    assert locked.client.post("/fine_tuning/alpha/graders/run", json=order).json()["reward"] == 0.5


def test_python_graders_are_off_unless_turned_on(tmp_path: Path) -> None:
    grader: dict[str, Any] = {"type": "python", "name": "g", "source": "def grade(sample, item):\n    return 1.0\n"}
    with gateway(tmp_path / "home") as found:
        run = found.client.post("/fine_tuning/alpha/graders/run", json={"grader": grader, "model_sample": "x"})
        method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
        body = {"model": "builtin/tiny", "training_file": found.upload(kit.rows(tmp_path)), "method": method}
        train = found.client.post("/fine_tuning/jobs", json=body)

    assert {found.error(answer)["code"] for answer in (run, train)} == {"python_graders_disabled"}


def test_no_secret_reaches_an_answer_or_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "super-secret-value-42-42"
    monkeypatch.setenv("SOME_API_KEY", secret)
    bad = tmp_path / "bad.jsonl"
    bad.write_text(f"{{{secret}}}\n")
    with gateway(tmp_path / "home", keys=KEY) as found:
        job = found.until(found.create(found.upload(bad))["id"], "failed")
        events = found.client.get(f"/fine_tuning/jobs/{job['id']}/events").text
        unknown = found.client.post("/fine_tuning/jobs", json={"model": secret, "training_file": "x"}).text

    assert secret not in str(job) + events + unknown
    assert KEY.encode() not in (tmp_path / "home" / "gateway" / "gateway.db").read_bytes()
