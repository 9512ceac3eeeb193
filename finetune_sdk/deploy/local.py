"""Local deployments: a server on this machine that outlives whoever started it. Everything goes through files.

One deployment is one server with one base model: a whole model, or adapters over a base. Started again after a crash
by its watchdog, after a reboot by `restart`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finetune_sdk.deploy import asked, processes, record
from finetune_sdk.deploy.asked import Serving
from finetune_sdk.deploy.engines import EngineKind
from finetune_sdk.errors import JobNotFound, MissingExtra, ProviderError
from finetune_sdk.types import Artifact, ArtifactKind, Deployment
from finetune_sdk.worker import wire

PROVIDER = "local"
"""Of a deployment that belongs to no provider's job."""
KINDS: tuple[ArtifactKind, ...] = ("adapter", "merged", "model", "onnx", "gguf")
"""What a server here can hold, as far as an engine for it is installed."""
READY_S = 900.0


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
    artifact = asked.settled(artifact)
    folder = record.folder_of(home, record.id_of(name))
    with processes.claimed(folder) as lock:
        if (folder / record.RECORD).exists():
            written = record.read(folder)
            asked.refuse_another(written, artifact, serving, name)
            fresh = False
        else:
            asked.check(serving, name)
            interpreter = partial(EngineKind.python, home=home, preferred=asked.trained_with(home, artifact), say=say)
            written = asked.record_of(asked.fetched(home, artifact, say), name, provider, serving, interpreter)
            written = replace(written, load=written.load | {"asked": asked.asked_for(artifact, name, serving)})
            record.write(folder, written)
            fresh = True
        try:
            processes.ensure_running(folder, written, lock)
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
    tail = processes.tail(folder)
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
    status, error = processes.status(folder)
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
    with processes.claimed(folder) as lock:
        processes.ensure_running(folder, record.read(folder), lock)
    return _answering(home, folder, fresh=False)


def stop(home: Path, id_: str) -> Deployment:
    """End its processes; it stays on record. Idempotent."""
    folder = _known(home, id_)
    processes.end(folder)
    return get(home, id_)


def remove(home: Path, id_: str) -> None:
    """Stop it and forget it. The model's files stay. Idempotent."""
    try:
        folder = _known(home, id_)
    except JobNotFound:
        return
    stop(home, folder.name)
    with processes.claimed(folder):
        shutil.rmtree(folder, ignore_errors=True)


def needs_front() -> None:
    """Raise `MissingExtra` when the HTTP front cannot run here."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise MissingExtra(f'serving needs {" and ".join(missing)}. Run: pip install "finetune-sdk[serve]"')


def _known(home: Path, id_: str) -> Path:
    for candidate in (id_, record.id_of(id_)):
        folder = record.folder_of(home, candidate)
        if candidate not in ("", ".", "..") and "/" not in candidate and (folder / record.RECORD).exists():
            return folder
    known = ", ".join(sorted(path.parent.name for path in record.root(home).glob(f"*/{record.RECORD}"))) or "none"
    raise JobNotFound(f"no local deployment {id_!r}; there are: {known}", sent=False)
