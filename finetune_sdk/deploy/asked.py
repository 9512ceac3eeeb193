"""What a local deployment is asked to be, and the record that is made of it."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeAlias

from finetune_sdk.deploy import fetching, record
from finetune_sdk.deploy.engines import EngineKind, engine_for
from finetune_sdk.deploy.record import Record
from finetune_sdk.errors import ProviderError, SpecError
from finetune_sdk.types import Artifact
from finetune_sdk.worker import wire

BASE = "base"
"""Where adapters are served, the base model answers under this name."""
Interpreting: TypeAlias = Callable[[EngineKind], Path]
"""The interpreter that an engine runs in."""


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


def check(serving: Serving, name: str) -> None:
    """Raise `SpecError` for a name or an address that cannot be."""
    if not name or len(name) > 200 or any(ord(letter) < 32 for letter in name):
        raise SpecError(f"{name!r} is no name for a model: up to 200 printable characters")
    if serving.host not in record.LOOPBACK and serving.api_key_env is None:
        raise SpecError(
            f"listening on {serving.host} lets others in: name the environment variable that holds the key "
            "(api_key_env, `--api-key-env NAME`), or listen on 127.0.0.1"
        )
    if name == BASE or name in serving.beside or BASE in serving.beside:
        raise SpecError(f"two models cannot answer under one name; {BASE!r} is the base model")


def settled(artifact: Artifact) -> Artifact:
    """A checkpoint is an adapter or a whole model."""
    if artifact.kind != "checkpoint":
        return artifact
    adapter = (Path(artifact.uri) / "adapter_config.json").is_file()
    return replace(artifact, kind="adapter" if adapter else "model")


def fetched(home: Path, asked: Artifact, say: Callable[[str], None] | None) -> Artifact:
    """The artifact, and an adapter's base, with what is named by the Hub fetched."""
    found = fetching.at_hand(home, asked, say=say)
    base = _base(found) if found.kind == "adapter" else None
    return found if base is None else replace(found, base_model=_folder(home, base, say))


def _folder(home: Path, base: str, say: Callable[[str], None] | None) -> str:
    return str(fetching.folder(home, base, say=say)) if fetching.is_hub_name(base) else base


def trained_with(home: Path, artifact: Artifact) -> list[Path]:
    """The interpreter that made an artifact of a job of this home: it has the libraries to serve it."""
    jobs, place = home.absolute() / "jobs", Path(artifact.uri).absolute()
    if jobs not in place.parents:
        return []
    told = wire.read_field(jobs / place.relative_to(jobs).parts[0] / wire.SPEC, "python")
    return [Path(told)] if told else []


def record_of(artifact: Artifact, name: str, provider: str, serving: Serving, interpreter: Interpreting) -> Record:
    """What is written down; the engine and the port are chosen here."""
    engine = engine_for(artifact.kind, serving.engine)
    command = engine.command(interpreter(engine))  # before the port: what takes minutes would let others have it
    salt, hashed = _key(serving)
    return Record(
        id=record.id_of(name),
        model=name,
        provider=provider,
        host=serving.host,
        port=_free_port(serving),
        engine=engine.name,
        engine_command=command,
        load=_load(artifact, name, serving),
        created=datetime.now(UTC),
        api_key_env=serving.api_key_env,
        key_salt=salt,
        key_sha256=hashed,
    )


def asked_for(artifact: Artifact, name: str, serving: Serving) -> dict[str, str]:
    """The models by the names they were asked for, by which a deployment is known again."""
    told = artifact.uri if fetching.is_hub_name(artifact.uri) else str(Path(artifact.uri).absolute())
    return {name: told, **{other: str(Path(path).absolute()) for other, path in serving.beside.items()}}


def refuse_another(written: Record, artifact: Artifact, serving: Serving, name: str) -> None:
    """Raise `ProviderError` when the name is taken by something else."""
    wanted = asked_for(artifact, name, serving)
    served = {other: path for other, path in written.load.get("asked", written.load["models"]).items() if other != BASE}
    if served != wanted:
        shown = ", ".join(sorted({*served.values()} - {*wanted.values()})) or "something else"
        raise ProviderError(
            f"[local] the deployment {name!r} serves {shown}. Choose another name, or remove that deployment "
            f"(finetune deployments rm {written.id}). Nothing was changed.",
            sent=False,
        )


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


def _base(artifact: Artifact) -> str | None:
    """The model an adapter was trained on: as recorded, else as its own configuration names it."""
    told: str | None = wire.read_field(Path(artifact.uri) / "adapter_config.json", "base_model_name_or_path")
    return artifact.base_model or told


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
