"""Bad input, and everything that can fall over, met once each."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gateway_kit as kit
import httpx
import peft_jobs
import pytest
from gateway_kit import LONG, Gateway, gateway

from finetune_sdk.gateway import server


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kit.rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Gateway]:
    with gateway(tmp_path_factory.mktemp("home"), script=LONG[:2000], file_bytes=1 << 20, json_bytes=1 << 16) as found:
        yield found


FORM = {"content-type": "multipart/form-data; boundary=b"}
PART = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
PURPOSE = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n'


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        pytest.param(b"hello", {"content-type": "text/plain"}, id="no form"),
        pytest.param(b"hello", {"content-type": "multipart/form-data"}, id="no boundary"),
        pytest.param(b"hello", FORM, id="no part"),
        pytest.param(b"", FORM, id="nothing"),
        pytest.param(PURPOSE + PART + b"abc", FORM, id="cut short"),
        pytest.param(PURPOSE + b"--b\r\n\r\nabc\r\n--b--\r\n", FORM, id="part without headers"),
        pytest.param(PURPOSE + PART + b"x\r\n" + PART + b"y\r\n--b--\r\n", FORM, id="two files"),
        pytest.param(PURPOSE + PART + b"\r\n--b--\r\n", FORM, id="empty file"),
        pytest.param(PURPOSE + b"--b--\r\n", FORM, id="no file"),
        pytest.param(PART + b"abc\r\n--b--\r\n", FORM, id="no purpose"),
        pytest.param(PURPOSE.replace(b"fine-tune", b"evil") + PART + b"x\r\n--b--\r\n", FORM, id="unknown purpose"),
        pytest.param(PURPOSE * 40 + PART + b"x\r\n--b--\r\n", FORM, id="too many fields"),
        pytest.param(PURPOSE + b"--b\r\n" + b"a: " + b"x" * 20_000 + b"\r\n\r\n--b--", FORM, id="endless header"),
    ],
)
def test_a_damaged_upload_is_refused_and_leaves_nothing(
    served: Gateway, content: bytes, headers: dict[str, str]
) -> None:
    answer = served.client.post("/files", content=content, headers=headers)

    assert answer.status_code == 400
    assert served.error(answer)["type"] == "invalid_request_error"
    assert list((served.home / "gateway" / "incoming").iterdir()) == []


def test_a_file_above_the_limit_is_refused_whatever_it_announces(served: Gateway) -> None:
    def pieces() -> Iterator[bytes]:
        yield PURPOSE + PART
        for _ in range(40):
            yield b"x" * 65536
        yield b"\r\n--b--\r\n"

    answer = served.client.post("/files", content=pieces(), headers=FORM)

    assert answer.status_code == 413
    assert served.error(answer)["code"] == "file_too_large"
    assert list((served.home / "gateway" / "incoming").iterdir()) == []


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 30_000, b'{"model": 1}', b"null"])
def test_a_body_that_is_no_request_is_refused(served: Gateway, body: bytes) -> None:
    answer = served.client.post("/fine_tuning/jobs", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    served.error(answer)


def test_a_body_above_the_limit_is_not_read_to_its_end(served: Gateway) -> None:
    content = b"[" + b"1," * (1 << 17)
    answer = served.client.post("/fine_tuning/jobs", content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 413
    served.error(answer)


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"model": "gpt-9"}, 404, "model"),
        ({"model": "/etc"}, 404, "model"),
        ({"model": "../x"}, 404, "model"),
        ({"training_file": "file-none"}, 400, "training_file"),
        ({"training_file": "../../jobs.db"}, 400, "training_file"),
        ({"suffix": "x" * 65}, 400, "suffix"),
        ({"seed": -1}, 400, "seed"),
        ({"seed": True}, 400, "seed"),
        ({"hyperparameters": {"n_epochs": 51}}, 400, "hyperparameters.n_epochs"),
        ({"metadata": {str(number): "x" for number in range(17)}}, 400, "metadata"),
        ({"method": {"type": "magic"}}, 400, "method.type"),
        ({"method": {"type": "reinforcement"}}, 400, "method.reinforcement"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_job_that_cannot_be_is_refused_by_name(
    served: Gateway, train: Path, more: dict[str, Any], status: int, param: str
) -> None:
    body = {"model": "owner/name", "training_file": served.upload(train), **more}
    answer = served.client.post("/fine_tuning/jobs", json=body)

    assert answer.status_code == status
    assert served.error(answer)["param"].startswith(param)


def test_a_file_with_another_purpose_trains_nothing(served: Gateway, train: Path) -> None:
    file = served.upload(train, purpose="batch")
    answer = served.client.post("/fine_tuning/jobs", json={"model": "builtin/tiny", "training_file": file})

    assert served.error(answer)["code"] == "invalid_file_purpose"


def test_training_files_are_read_as_data_and_their_faults_told(served: Gateway, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b"\x80\x04\x95cos\nsystem\n(S'touch pwned'\ntR.\n" * 10)
    job = served.until(served.create(served.upload(bad))["id"], "failed")

    assert (job["error"]["code"], job["error"]["param"]) == ("invalid_training_file", "training_file")
    assert str(served.home) not in job["error"]["message"]
    assert not Path("pwned").exists()


def test_garbage_to_train_on_takes_no_room_once_its_file_is_deleted(served: Gateway, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.jsonl"
    garbage.write_bytes(random.Random(7).randbytes(1 << 19))
    file = served.upload(garbage)
    job = served.until(served.create(file, suffix="garbage")["id"], "failed")
    deleted = served.client.delete(f"/files/{file}").json()["deleted"]
    folder = served.home / "gateway"

    assert (job["error"]["code"], deleted) == ("invalid_training_file", True)
    kit.until(lambda: not (folder / "jobs" / job["id"]).exists())
    assert not (folder / "files" / file).exists()


GARBAGE = {
    "a form": ("/files", b"", {"content-type": "multipart/form-data; boundary=b"}),
    "a field of a form": ("/files", PURPOSE[:-11], FORM),
    "a header of a form": ("/files", b"--b\r\nx: ", FORM),
    "JSON": ("/fine_tuning/jobs", b'["', {"content-type": "application/json"}),
    "a chat": ("/chat/completions", b'{"model": "', {"content-type": "application/json"}),
    "a part of an upload": ("/uploads/upload_none/parts", PART, FORM),
}


@pytest.mark.parametrize("where", GARBAGE)
def test_endless_garbage_is_refused_before_it_ends(served: Gateway, where: str) -> None:
    path, start, headers = GARBAGE[where]
    block, sent = random.Random(8).randbytes(1 << 16).replace(b"\r", b"r").replace(b"\n", b"n"), 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield start
        for _ in range(1 << 14):  # a gigabyte, if anybody wanted it
            sent += len(block)
            yield block

    status = 0
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):  # it may close before we have read why
        status = served.client.post(path, content=pieces(), headers=headers).status_code

    assert status in (0, 400, 404, 413)
    assert sent < 64 << 20
    assert list((served.home / "gateway" / "incoming").iterdir()) == []
    assert served.client.get("/models").status_code == 200


def test_a_file_in_use_is_not_deleted_before_its_job_has_ended(served: Gateway, train: Path) -> None:
    file = served.upload(train)
    job = served.create(file, suffix="in-use")["id"]
    refused = served.client.delete(f"/files/{file}")
    served.client.post(f"/fine_tuning/jobs/{job}/cancel")
    served.until(job, "cancelled")

    assert served.error(refused)["code"] == "file_in_use"
    assert refused.headers["x-should-retry"] == "false"
    assert served.client.delete(f"/files/{file}").json()["deleted"] is True


@pytest.mark.parametrize(
    "query", ["after=nobody", "limit=0", "limit=x", "limit=1001", "metadata=x", "metadata[a][b]=1"]
)
def test_a_list_that_cannot_be_asked_for_is_refused(served: Gateway, query: str) -> None:
    answer = served.client.get(f"/fine_tuning/jobs?{query}")

    assert answer.status_code == 400
    served.error(answer)


def test_a_job_whose_environment_is_missing_fails_and_says_so(tmp_path: Path, train: Path) -> None:
    routes = [{"provider": "peft"}]
    backends = {"peft": {"compute": {"environment": str(tmp_path / "nowhere" / "python")}}}
    with gateway(tmp_path / "home", routes=routes, backends=backends) as found:
        job = found.until(found.create(found.upload(train))["id"], "failed")

    assert job["error"]["code"] == "environment_missing"
    assert "nowhere" in job["error"]["message"]


def test_a_request_that_dribbles_is_ended(tmp_path: Path) -> None:
    with gateway(tmp_path / "home", idle_s=0.3) as found, _connected(found) as connection:
        head = f"POST /v1/fine_tuning/jobs HTTP/1.1\r\nhost: {found.url[7:]}\r\ncontent-length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 408")


def test_headers_that_dribble_end_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADERS_S", 0.3)
    with gateway(tmp_path / "home") as found, _connected(found) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ")

        assert _ended(connection)
        monkeypatch.setattr(server, "HEADERS_S", kit.PATIENCE_S)
        assert found.client.get("/models").status_code == 200


def _ended(connection: socket.socket) -> bool:
    """Whether the other side has closed, politely or not; waits for it."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


@contextmanager
def _connected(found: Gateway) -> Generator[socket.socket]:
    address = found.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=kit.PATIENCE_S) as connection:
        yield connection


def test_a_full_disk_is_told_and_passes(tmp_path: Path, train: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        with gateway(folder / "home") as found:
            files = {"file": ("big", b"x" * (32 << 20))}
            answer = found.client.post("/files", files=files, data={"purpose": "fine-tune"})
            after = found.upload(train)
            left = list((found.home / "gateway" / "incoming").iterdir())
    finally:
        subprocess.run(["umount", str(folder)], check=True)

    assert answer.status_code == 507
    assert answer.json()["error"]["code"] == "storage_full"
    assert answer.headers["x-should-retry"] == "false"
    assert after.startswith("file-")
    assert left == []


def test_ten_thousand_jobs_are_paged_without_a_gap(tmp_path: Path, train: Path) -> None:
    with gateway(tmp_path / "home") as found:
        job = found.until(found.create(found.upload(train), metadata={"one": "only"})["id"], "succeeded")
        _multiply(found.home, 9_999)
        ids: list[str] = []
        after: dict[str, str] = {}
        while True:
            page = found.client.get("/fine_tuning/jobs", params={"limit": "1000", **after}).json()
            ids += [one["id"] for one in page["data"]]
            after = {"after": ids[-1]}
            if not page["has_more"]:
                break
        few = found.client.get("/fine_tuning/jobs", params={"metadata[one]": "only"}).json()["data"]

    assert len(set(ids)) == len(ids) == 10_000
    assert [one["id"] for one in few] == [job["id"]]


def _multiply(home: Path, count: int) -> None:
    with sqlite3.connect(home / "gateway" / "gateway.db") as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(job)") if row[1] not in ("seq", "id", "job_id")]
        columns = ", ".join(name if name != "metadata" else "'{}'" for name in names)
        query = f"INSERT INTO job (id, {', '.join(names)}) SELECT ?, {columns} FROM job LIMIT 1"
        db.executemany(query, [(f"ftjob-{number:024d}",) for number in range(count)])
    db.close()


def test_two_servers_on_one_home_share_everything(tmp_path: Path, train: Path) -> None:
    home = tmp_path / "home"
    with gateway(home, script=LONG[:2000]) as one:
        with gateway(home, script=LONG[:2000]) as other:
            file = other.upload(train)
            first, second = other.create(file, suffix="a")["id"], one.create(file, suffix="b")["id"]
            other.until(first, "running")
            one.until(second, "queued")
        one.client.post(f"/fine_tuning/jobs/{first}/cancel")
        one.until(second, "running")

    with gateway(home) as later:
        assert later.job(first)["status"] == "cancelled"
        later.client.post(f"/fine_tuning/jobs/{second}/cancel")
        assert later.until(second, "cancelled")["status"] == "cancelled"


def test_a_job_outlives_the_servers_sudden_death(tmp_path: Path) -> None:
    train = peft_jobs.write(tmp_path / "train.jsonl", peft_jobs.rows(16))
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4}}}
    with kit.process(tmp_path / "home", "--provider", "peft") as first:
        assert first.process is not None
        file = first.upload(train)
        job = first.create(file, seed=1, method=method)["id"]
        waiting = first.create(file, seed=2, method=method)["id"]
        first.until(job, "running")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    with kit.process(tmp_path / "home", "--provider", "peft") as second:
        done = second.until(job, "succeeded", "failed")
        events = second.client.get(f"/fine_tuning/jobs/{job}/events", params={"limit": 200}).json()["data"]
        second.until(waiting, "running", "succeeded")
        second.client.post(f"/fine_tuning/jobs/{waiting}/cancel")
        content = second.client.get(f"/files/{file}/content").content

    assert done["status"] == "succeeded", done["error"]
    assert [event["data"]["step"] for event in events if "train_loss" in event["data"]] == list(range(8, 0, -1))
    assert content == train.read_bytes()


def test_memory_does_not_grow_with_an_upload(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield PURPOSE + PART
        for _ in range(256):
            yield bytes(1 << 20)
        yield b"\r\n--b--\r\n"

    with kit.process(tmp_path / "home") as found:
        assert found.process is not None
        answer = found.client.post("/files", content=pieces(), headers=FORM)
        status = Path(f"/proc/{found.process.pid}/status").read_text()

    most_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    assert answer.json()["bytes"] == 256 << 20
    assert most_kb < 150_000


def test_a_server_that_is_told_to_leave_ends_its_streams_and_says_so(tmp_path: Path, train: Path) -> None:
    with kit.process(tmp_path / "home", "--provider", "peft") as found:
        assert found.process is not None
        job = found.create(found.upload(train))["id"]
        with found.client.stream("GET", f"/fine_tuning/jobs/{job}/events", params={"stream": "true"}) as answer:
            lines = answer.iter_lines()
            next(lines)
            found.process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line.startswith("data: ")]
        code = found.process.wait(kit.PATIENCE_S)

    assert rest[-1] == "data: [DONE]"
    assert all(json.loads(line[6:]) for line in rest[:-1])
    assert code == 0
