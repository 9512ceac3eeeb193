# pyright: basic
"""The rented machine's side: fetch the job, build the environment, run the worker under its supervisor, bring it home.

Runs where only the standard library and huggingface_hub are. Everything it brings home goes to `out/` of the job's
private repository: `claim.json` first, `events.jsonl` and `worker.log` at intervals, the artifacts and `result.json`
in one last commit. A second machine with the same job finds the claim taken and leaves: a job trains once.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, set_client_factory
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import _http

TICK_S = 0.5
FAULTS = (httpx2.HTTPError, OSError, ValueError, RuntimeError)  # the last is how uploads of large files fail
PATIENCE_S = 3600.0  # how long the end of a job is tried to be told to a hub that is down
KEPT = ("artifacts", "tensorboard", "base")  # folders of the job that come home; checkpoints go with the machine
_TAKEN = (409, 412)


def module(path: Path, name: str) -> Any:
    """A file of the bundle, imported by path."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


class Home:
    """The job's repository."""

    def __init__(self) -> None:
        self.endpoint = os.environ.get("HF_ENDPOINT")
        self.api = HfApi(endpoint=self.endpoint, token=os.environ["HF_TOKEN"])
        self.repo = os.environ["FTSDK_REPO"]
        self.commit = os.environ["FTSDK_COMMIT"]

    def fetch(self, folder: Path) -> None:
        self.api.snapshot_download(self.repo, revision=self.commit, allow_patterns=["job/*"], local_dir=folder)

    def claim(self) -> dict[str, Any] | None:
        """None = ours now; else what the one who was quicker says. Compare and swap on the commit of the job."""
        mine = {"machine": machine(), "token": secrets.token_hex(8)}
        text = json.dumps(mine).encode()
        try:
            self.push({"out/claim.json": text}, "Claim the job", parent=self.commit)
        except HfHubHTTPError as exc:
            if exc.response.status_code not in _TAKEN:
                raise
            there = self._claimed()
            return None if there == mine else there  # the answer to ours may have been lost, and then tried again
        return None

    def _claimed(self) -> dict[str, Any]:
        try:
            path = self.api.hf_hub_download(self.repo, "out/claim.json", revision="main", force_download=True)
        except EntryNotFoundError:
            return {"machine": "somebody who changed the repository"}
        found: dict[str, Any] = json.loads(Path(path).read_text())
        return found

    def push(self, files: dict[str, Any], message: str, parent: str | None = None) -> None:
        added = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=what if isinstance(what, bytes) else str(what))
            for name, what in files.items()
        ]
        self.api.create_commit(self.repo, added, commit_message=message, parent_commit=parent)


def machine() -> str | None:
    """How the vendor calls this machine; None = it does not say."""
    return os.environ.get("JOB_ID") or os.environ.get("SPACE_ID")


class Run:
    """One job on this machine."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self.folder = folder
        job = folder / "job"
        self.order: dict[str, Any] = json.loads((job / "order.json").read_text())
        sdk = job / "sdk" / "worker"
        self.wire = module(sdk / "wire.py", "_agent_wire")
        self.launchers = module(sdk / "launchers.py", "_agent_launchers")
        self.surroundings = module(sdk / "surroundings.py", "_agent_surroundings")
        self.runner = module(sdk / "runner.py", "_agent_runner")
        self.redact = self.runner.redact
        self.told: dict[str, int] = {}
        self.cancelled = False

    @property
    def job(self) -> Path:
        return self.folder / "job"

    def say(self, message: str, level: str = "info") -> None:
        """To the job's events, and to the vendor's log."""
        print(self.redact(message), flush=True)  # noqa: T201
        log = self.runner.EventLog(self.job / self.wire.EVENTS)  # anew: cursors go on where the worker stopped
        log.append(self.redact(message), level=level, step=None, metrics={})

    def build(self) -> Path:
        """The environment. Raises `subprocess.CalledProcessError` with what the installer said."""
        variant = "cuda" if "cuda" in self.order["install"] and _gpu() else "cpu"
        place, lock = self.folder / "env", self.job / "lock" / f"{variant}.lock"
        self.say(f"building the environment of {self.order['provider']} ({variant})")
        self.report()
        places = {"{lock}": str(lock)}
        for command in self.order["install"][variant]:
            words = [str(places.get(word, word)).replace("{folder}", str(place)) for word in command]
            subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return place / "bin" / "python"

    def start(self, python: Path) -> None:
        """As the SDK starts a worker: its supervisor detaches, and returns once it is on record."""
        spec = json.loads((self.job / self.wire.SPEC).read_text())
        spec |= {"python": str(python), "worker": str(self.folder / spec["worker"])}
        self.wire.write_json(self.job / self.wire.SPEC, spec)
        self._put_model()
        lock = os.open(self.job / self.wire.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        worker = self.launchers.command(python, self.job, processes=spec["processes"])
        token = {self.wire.TOKEN_ENV: secrets.token_hex(16)}
        try:
            subprocess.run(
                self.launchers.supervised(python, self.job, lock, worker),
                env={**self.surroundings.minimal(), **token},
                pass_fds=(lock,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                check=True,
            )
        finally:
            os.close(lock)

    def _put_model(self) -> None:
        """The base model where it lies on the submitter's machine: adapters write that path down."""
        there = self.order["model"]
        if there is None or Path(there).exists():
            return
        try:
            Path(there).parent.mkdir(parents=True, exist_ok=True)
            Path(there).symlink_to(self.job / "model", target_is_directory=True)
        except OSError as exc:
            spec = json.loads((self.job / self.wire.SPEC).read_text())
            spec["request"]["model"] = str(self.job / "model")
            self.wire.write_json(self.job / self.wire.SPEC, spec)
            self.say(
                f"the base model cannot lie at {there} here ({exc.strerror}); set it again when loading", "warning"
            )

    def watch(self) -> None:
        """Until the supervisor has left, reporting on the way."""
        every_s = float(os.environ["FTSDK_REPORT_S"])
        next_s = time.monotonic() + every_s
        while self._alive():
            if self.cancelled:
                self._pass_on_cancel()
            if time.monotonic() > next_s:
                self.report()
                next_s = time.monotonic() + every_s
            time.sleep(TICK_S)

    def _alive(self) -> bool:
        found = self.wire.read_json(self.job / self.wire.PROCESS)
        if found is None:
            return False
        with contextlib.suppress(ChildProcessError):  # where we are the machine's first process, orphans are ours
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            stat = Path(f"/proc/{found['pid']}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def _pass_on_cancel(self) -> None:
        self.cancelled = False
        self.wire.write_json(self.job / self.wire.CANCEL, {})
        with contextlib.suppress(OSError):
            os.kill(self.wire.read_json(self.job / self.wire.PROCESS)["pid"], signal.SIGTERM)

    def report(self) -> None:
        """What is new, if anything. A hub that is down is told the next time."""
        files = self._texts()
        if not files:
            return
        try:
            self.home.push(files, "Report")
        except FAULTS as exc:
            print(self.redact(f"could not report: {type(exc).__name__}: {exc}"), flush=True)  # noqa: T201
            return
        self.told |= {name: len(text) for name, text in files.items()}

    def _texts(self) -> dict[str, bytes]:
        """Events and log where they have grown, without secrets."""
        found: dict[str, bytes] = {}
        for name in (self.wire.EVENTS, self.wire.LOG):
            path = self.job / name
            if not path.exists():
                continue
            text = path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1] if name == self.wire.EVENTS else text
            clean = self.redact(whole.decode("utf-8", "replace")).encode()
            if len(clean) != self.told.get(f"out/{name}", 0):
                found[f"out/{name}"] = clean
        return found

    def fail(self, error: str) -> None:
        """The result of a job that never came to its worker."""
        self.say(error, "error")
        self.wire.write_json(
            self.job / self.wire.RESULT,
            {"status": "failed", "error": self.redact(error), "model": None, "metrics": {}, "usage": {}}
            | {"artifacts": []},
        )

    def bring_home(self) -> str:
        """Everything in one commit, so that a result is never seen without its files. Returns the status."""
        result = self.wire.read_json(self.job / self.wire.RESULT)
        if result is None:
            self.fail("the worker left no result")
            result = self.wire.read_json(self.job / self.wire.RESULT)
        kept = [path for name in KEPT for path in (self.job / name).rglob("*") if path.is_file()]
        files: dict[str, Any] = {f"out/{path.relative_to(self.job)}": path for path in sorted(kept)}
        files |= self._texts()
        result["model"] = self._relative(result.get("model"))
        for one in result.get("artifacts") or []:
            one["base_model"] = self._relative(one.get("base_model"))
        files["out/result.json"] = json.dumps(result).encode()
        give_up_s, pause_s = time.monotonic() + PATIENCE_S, 1.0
        while True:
            try:
                self.home.push(files, "Result")
            except FAULTS as exc:
                print(self.redact(f"could not bring the result home: {exc}"), flush=True)  # noqa: T201
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 60.0)
            else:
                return str(result["status"])

    def _relative(self, path: str | None) -> str | None:
        """Elsewhere the job's folder lies elsewhere."""
        here = f"{self.job}/"
        return f"./{path.removeprefix(here)}" if path is not None and path.startswith(here) else path


def _gpu() -> bool:
    return Path("/proc/driver/nvidia").exists() or Path("/dev/nvidiactl").exists()


def _answer_at(port: int) -> None:
    """A Space counts as running once something answers there."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"This Space trains a model for its owner.\n")

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Answer)  # noqa: S104 - the Space's own front asks here
    threading.Thread(target=server.serve_forever, daemon=True).start()


def _client() -> httpx2.Client:
    client = _http.default_client_factory()
    client.timeout = httpx2.Timeout(120.0, connect=20.0)
    return client


def main() -> int:
    """0 = the result is home and says what became of the job."""
    set_client_factory(_client)
    space = os.environ.get("SPACE_ID")
    if space:
        _answer_at(int(os.environ.get("FTSDK_PORT", "7860")))
    home = Home()
    try:
        return _one(home)
    finally:
        if space:  # a Space goes on costing until it is paused
            home.api.pause_space(space)


def _one(home: Home) -> int:
    there = home.claim()
    if there is not None and (machine() is None or there.get("machine") != machine()):
        print(f"this job is run by {there.get('machine') or 'another'}: nothing to do here", flush=True)  # noqa: T201
        return 0
    folder = Path(tempfile.mkdtemp(prefix="finetune-"))
    home.fetch(folder)
    run = Run(home, folder)
    if there is not None:
        if _finished(home):
            return 0
        run.fail("the machine was restarted while it trained, and what it had learned is lost; submit the job again")
        return 0 if run.bring_home() == "succeeded" else 1

    def leave(*_: Any) -> None:
        run.cancelled = True

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    try:
        python = run.build()
        if run.cancelled:
            run.wire.write_json(run.job / run.wire.RESULT, {"status": "cancelled"})
        else:
            run.say("starting the worker")
            run.start(python)
            run.watch()
    except subprocess.CalledProcessError as exc:
        run.fail(f"`{exc.cmd[0]}` failed ({exc.returncode}): {(exc.stdout or '').strip()[-1500:]}")
    return 0 if run.bring_home() == "succeeded" else 1


def _finished(home: Home) -> bool:
    with contextlib.suppress(EntryNotFoundError):
        home.api.hf_hub_download(home.repo, "out/result.json", revision="main", force_download=True)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
