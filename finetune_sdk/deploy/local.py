"""Local deployments: a server on this machine that outlives whoever started it. Everything goes through files.

One deployment is one server with one base model: a whole model, or adapters over a base. Started again after a crash
by its watchdog, after a reboot by `restart`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from finetune_sdk.deploy import fetching, record
from finetune_sdk.deploy.engines import EngineKind, engine_for
from finetune_sdk.deploy.record import Record
from finetune_sdk.errors import JobNotFound, MissingExtra, ProviderError, SpecError, StoreError
from finetune_sdk.types import Artifact, ArtifactKind, Deployment
from finetune_sdk.worker import surroundings, wire
from finetune_sdk.worker.liveness import Process

PROVIDER = "local"
"""Of a deployment that belongs to no provider's job."""
BASE = "base"
"""Where adapters are served, the base model answers under this name."""
KINDS: tuple[ArtifactKind, ...] = ("adapter", "merged", "model", "onnx", "gguf")
"""What a server here can hold, as far as an engine for it is installed."""
READY_S = 900.0
_STOPPING_S = 30.0
_WATCHDOG = Path(__file__).with_name("watchdog.py")
_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How to serve; the defaults serve this machine only, without a key."""

    host: str = "127.0.0.1"
    """Anything but a loopback address needs `api_key_env`."""
    port: int = 0
    """0 = a free one, kept from then on."""
    api_key_env: str | None = None
    """The environment variable that holds the key clients must give; read once, at the start; only a hash is kept."""
    engine: str = "auto"
    device: str | None = None
    """None = a GPU where the engine sees one."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    threads: int | None = None
    """None = half of the cores this process may use."""
    trust_remote_code: bool = False
    """Runs Python code that lies in the model's folder."""
    max_rows: int = 64
    """Answers generated at once; further ones wait."""
    beside: Mapping[str, Path] = field(default_factory=dict[str, Path])
    """Further adapters over the same base: served name -> folder."""


def servable(artifact: Artifact) -> bool:
    """Whether it lies on this machine in a form that an engine may serve."""
    return artifact.kind in (*KINDS, "checkpoint") and Path(artifact.uri).exists()


def deploy(
    home: Path,
    artifact: Artifact,
    *,
    name: str,
    provider: str = PROVIDER,
    serving: Serving | None = None,
    say: Callable[[str], None] | None = None,
) -> Deployment:
    """Serve an artifact under `name` and wait until it answers. Idempotent by name; a stopped one is started again.

    A whole model may be named as on the Hugging Face Hub (`Artifact(kind="model", uri="owner/name")`), and so may an
    adapter's base: they are fetched into its cache the first time, see `fetching`. `provider`: whose artifact it is.
    `say` gets a line at a time while an environment is built. Raises `ProviderError` when the name serves something
    else, or when the engine cannot load the model (nothing is left then), `SpecError` for unusable options.
    """
    needs_front()
    serving = serving or Serving()
    artifact = _settled(artifact)
    folder = record.folder_of(home, record.id_of(name))
    with _claimed(folder) as lock:
        if (folder / record.RECORD).exists():
            written = record.read(folder)
            _same(written, artifact, serving, name)
            fresh = False
        else:
            _check(serving, name)
            interpreter = partial(EngineKind.python, home=home, preferred=trained_with(home, artifact), say=say)
            written = _written(_at_hand(home, artifact, say), name, provider, serving, interpreter)
            written = replace(written, load=written.load | {"asked": _asked(artifact, name, serving)})
            record.write(folder, written)
            fresh = True
        try:
            _ensure_running(folder, written, lock)
        except BaseException:
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return _answering(home, folder, fresh=fresh)


def _answering(home: Path, folder: Path, *, fresh: bool) -> Deployment:
    """The deployment once it is ready; one that was made for nothing is removed."""
    found = wait(home, folder.name, timeout_s=READY_S)
    if found.status in ("ready", "starting"):
        return found
    tail = _tail(folder)
    if fresh:
        remove(home, folder.name)
    raise ProviderError(f"[local] {found.model!r} cannot be served: {found.error or 'the server ended'}{tail}")


def deployments(home: Path) -> list[Deployment]:
    """All local deployments, by id, as they stand now."""
    folders = sorted(path.parent for path in record.root(home).glob(f"*/{record.RECORD}"))
    return [get(home, folder.name) for folder in folders]


def get(home: Path, id_: str) -> Deployment:
    """One deployment as it stands now, by id or by the name it answers under. Raises `JobNotFound`."""
    folder = _known(home, id_)
    written = record.read(folder)
    status, error = _status(folder)
    return Deployment(
        id=written.id,
        provider=written.provider,
        model=written.model,
        base_url=written.base_url,
        status=status,
        api_key_env=written.api_key_env,
        error=error,
    )


def find(home: Path, id_: str, *, provider: str) -> Deployment:
    """One deployment as it stands now; a `stopped` one without an address when there is none."""
    try:
        return get(home, id_)
    except JobNotFound:
        return Deployment(id=id_, provider=provider, model=id_, base_url="", status="stopped")


def facts(home: Path, id_: str) -> dict[str, Any]:
    """What else there is to know: engine, its interpreter, models, device, restarts, log files."""
    folder = _known(home, id_)
    written = record.read(folder)
    state = wire.read_json(folder / record.STATE) or {}
    return {
        "engine": written.engine,
        "python": written.engine_command[0],
        "host": written.host,
        "port": written.port,
        "models": written.load["models"],
        "created": written.created.isoformat(),
        "restarts": state.get("restarts", 0),
        **state.get("facts", {}),
        "log": str(folder / record.LOG),
        "engine_log": str(folder / record.ENGINE_LOG),
    }


def wait(home: Path, id_: str, *, timeout_s: float | None = None) -> Deployment:
    """Block while it is starting; at most `timeout_s` seconds, then it is answered as `starting`."""
    give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
    while (found := get(home, id_)).status == "starting" and (give_up_s is None or time.monotonic() < give_up_s):
        time.sleep(0.05)
    return found


def restart(home: Path, id_: str) -> Deployment:
    """Stop it if it runs, start it at the same port, and wait until it answers."""
    needs_front()
    stop(home, id_)
    folder = _known(home, id_)
    with _claimed(folder) as lock:
        _ensure_running(folder, record.read(folder), lock)
    return _answering(home, folder, fresh=False)


def stop(home: Path, id_: str) -> Deployment:
    """End its processes; it stays on record. Idempotent."""
    folder = _known(home, id_)
    (folder / record.STOP).touch()
    process = Process.read(folder)
    give_up_s = time.monotonic() + _STOPPING_S
    if process is not None and process.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        while process.alive and time.monotonic() < give_up_s:
            time.sleep(0.02)
        if process.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
    if process is not None:
        process.sweep()
    return get(home, id_)


def remove(home: Path, id_: str) -> None:
    """Stop it and forget it. The model's files stay. Idempotent."""
    try:
        folder = _known(home, id_)
    except JobNotFound:
        return
    stop(home, folder.name)
    with _claimed(folder):
        shutil.rmtree(folder, ignore_errors=True)


def needs_front() -> None:
    """Raise `MissingExtra` when the HTTP front cannot run here."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise MissingExtra(f'serving needs {" and ".join(missing)}. Run: pip install "finetune-sdk[serve]"')


# --- what is written

Interpreting: TypeAlias = Callable[[EngineKind], Path]


def _at_hand(home: Path, asked: Artifact, say: Callable[[str], None] | None) -> Artifact:
    """The artifact, and an adapter's base, with what is named by the Hub fetched."""
    found = fetching.at_hand(home, asked, say=say)
    base = _base(found) if found.kind == "adapter" else None
    return found if base is None else replace(found, base_model=_folder(home, base, say))


def _folder(home: Path, base: str, say: Callable[[str], None] | None) -> str:
    return str(fetching.folder(home, base, say=say)) if fetching.is_hub_name(base) else base


def _written(artifact: Artifact, name: str, provider: str, serving: Serving, interpreter: Interpreting) -> Record:
    engine = engine_for(artifact.kind, serving.engine)
    salt, hashed = _key(serving)
    return Record(
        id=record.id_of(name),
        model=name,
        provider=provider,
        host=serving.host,
        port=_free_port(serving),
        engine=engine.name,
        engine_command=engine.command(interpreter(engine)),
        load=_load(artifact, name, serving),
        created=datetime.now(UTC),
        api_key_env=serving.api_key_env,
        key_salt=salt,
        key_sha256=hashed,
    )


def _asked(artifact: Artifact, name: str, serving: Serving) -> dict[str, str]:
    """The models by the names they were asked for, by which a deployment is known again."""
    told = artifact.uri if fetching.is_hub_name(artifact.uri) else str(Path(artifact.uri).absolute())
    return {name: told, **{other: str(Path(path).absolute()) for other, path in serving.beside.items()}}


def _load(artifact: Artifact, name: str, serving: Serving) -> dict[str, Any]:
    models = {name: str(Path(artifact.uri).absolute())}
    models |= {other: str(Path(path).absolute()) for other, path in serving.beside.items()}
    base = _base(artifact) if artifact.kind == "adapter" else None
    if base is not None:
        models[BASE] = base
    return {
        "models": models,
        "base": base,
        "device": serving.device,
        "precision": serving.precision,
        "threads": serving.threads,
        "trust_remote_code": serving.trust_remote_code,
        "max_rows": serving.max_rows,
    }


def _settled(artifact: Artifact) -> Artifact:
    """A checkpoint is an adapter or a whole model."""
    if artifact.kind != "checkpoint":
        return artifact
    adapter = (Path(artifact.uri) / "adapter_config.json").is_file()
    return replace(artifact, kind="adapter" if adapter else "model")


def trained_with(home: Path, artifact: Artifact) -> list[Path]:
    """The interpreter that made an artifact of a job of this home: it has the libraries to serve it."""
    jobs, place = home.absolute() / "jobs", Path(artifact.uri).absolute()
    if jobs not in place.parents:
        return []
    told = wire.read_field(jobs / place.relative_to(jobs).parts[0] / wire.SPEC, "python")
    return [Path(told)] if told else []


def _base(artifact: Artifact) -> str | None:
    """The model an adapter was trained on: as recorded, else as its own configuration names it."""
    told: str | None = wire.read_field(Path(artifact.uri) / "adapter_config.json", "base_model_name_or_path")
    return artifact.base_model or told


def _check(serving: Serving, name: str) -> None:
    if not name or len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise SpecError(f"{name!r} is no name for a model: up to 200 printable characters")
    if serving.host not in record.LOOPBACK and serving.api_key_env is None:
        raise SpecError(
            f"listening on {serving.host} lets others in: name the environment variable that holds the key "
            "(api_key_env, `--api-key-env NAME`), or listen on 127.0.0.1"
        )
    if name == BASE or name in serving.beside or BASE in serving.beside:
        raise SpecError(f"two models cannot answer under one name; {BASE!r} is the base model")


def _key(serving: Serving) -> tuple[str | None, str | None]:
    if serving.api_key_env is None:
        return None, None
    key = os.environ.get(serving.api_key_env, "")
    if not key:
        raise SpecError(f"the environment variable {serving.api_key_env}, which is to hold the key, is not set")
    if len(key) < 16:
        raise SpecError(f"the key in {serving.api_key_env} is shorter than 16 characters: it could be guessed")
    salt = secrets.token_hex(8)
    return salt, sha256(f"{salt}:{key}".encode()).hexdigest()


def _same(written: Record, artifact: Artifact, serving: Serving, name: str) -> None:
    """Raise `ProviderError` when the name is taken by something else."""
    wanted = _asked(artifact, name, serving)
    served = {other: path for other, path in written.load.get("asked", written.load["models"]).items() if other != BASE}
    if served != wanted:
        shown = ", ".join(sorted({*served.values()} - {*wanted.values()})) or "something else"
        raise ProviderError(
            f"[local] the deployment {name!r} serves {shown}. Choose another name, or remove that deployment "
            f"(finetune deployments rm {written.id}). Nothing was changed.",
            sent=False,
        )


# --- processes


def _ensure_running(folder: Path, written: Record, lock: int) -> None:
    process = Process.read(folder)
    if process is not None and process.alive:
        return
    if process is not None:
        process.sweep()
    for name in (record.STOP, record.STATE):
        (folder / name).unlink(missing_ok=True)
    with _listening(written) as listening:
        _launch(folder, listening, lock)


def _launch(folder: Path, listening: socket.socket, lock: int) -> None:
    token = secrets.token_hex(16)
    fd = listening.fileno()
    front = [sys.executable, "-P", "-u", "-m", "finetune_sdk.deploy.front"]
    done = subprocess.run(
        [sys.executable, "-I", "-u", str(_WATCHDOG), str(folder), str(fd), str(lock), "--", *front],
        env=surroundings.minimal({wire.TOKEN_ENV: token, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[fd, lock],
        check=False,
        timeout=_START_S,
    )
    if done.returncode != 0:
        raise ProviderError(f"[local] the server cannot be started: {done.stderr.strip()[-500:]}", sent=False)


@contextlib.contextmanager
def _listening(written: Record) -> Generator[socket.socket]:
    """The socket at the deployment's own port. Raises `ProviderError` when somebody else has it."""
    family = socket.AF_INET6 if ":" in written.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((written.host, written.port))
        except OSError as exc:
            raise ProviderError(
                f"[local] cannot listen on {written.host}:{written.port}: {exc.strerror}. Free the port, or remove the "
                "deployment and deploy it at another one.",
                sent=False,
            ) from exc
        listening.listen(2048)
        yield listening


def _free_port(serving: Serving) -> int:
    if serving.port:
        return serving.port
    family = socket.AF_INET6 if ":" in serving.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((serving.host, 0))
        except OSError as exc:
            raise SpecError(f"cannot listen on {serving.host!r}: {exc.strerror}") from exc
        return int(probe.getsockname()[1])


def _status(folder: Path) -> tuple[Literal["starting", "ready", "failed", "stopped"], str | None]:
    process = Process.read(folder)
    if process is None or not process.alive:
        crashed = process is not None and not (folder / record.STOP).exists()
        return "stopped", "it was killed, or the machine restarted" if crashed else None
    state = wire.read_json(folder / record.STATE)
    if state is None:
        return "starting", None
    return state["status"], state.get("error")


def _tail(folder: Path) -> str:
    for name in (record.ENGINE_LOG, record.LOG):
        with contextlib.suppress(OSError):
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
            if lines:
                return "\nLast lines of its log:\n" + "\n".join(lines)[-1500:]
    return ""


def _known(home: Path, id_: str) -> Path:
    for candidate in (id_, record.id_of(id_)):
        folder = record.folder_of(home, candidate)
        if candidate not in ("", ".", "..") and "/" not in candidate and (folder / record.RECORD).exists():
            return folder
    known = ", ".join(sorted(path.parent.name for path in record.root(home).glob(f"*/{record.RECORD}"))) or "none"
    raise JobNotFound(f"no local deployment {id_!r}; there are: {known}", sent=False)


@contextlib.contextmanager
def _claimed(folder: Path) -> Generator[int]:
    """The lock of one deployment; whoever comes second waits."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder.with_name(f".{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise StoreError(f"cannot write {folder.parent}: {exc.strerror}; set another home (FINETUNE_HOME)") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
