"""Models that are named, not given: by a folder or file on this machine, or by a name on the Hugging Face Hub.

What comes from the Hub lies in huggingface_hub's own cache; it is fetched by the interpreter that serves, for this one
need not have the library.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune_sdk.deploy.engines import engine_for
from finetune_sdk.errors import AuthFailed, PermissionRefused, ProviderError, SpecError, Unreachable
from finetune_sdk.types import Artifact, ArtifactKind
from finetune_sdk.worker import surroundings

_HUB_NAME = re.compile(r"(?!builtin/)[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
_KINDS: tuple[tuple[str, ArtifactKind], ...] = (
    ("adapter_config.json", "adapter"),
    ("genai_config.json", "onnx"),
    ("config.json", "model"),
)
_ERRORS: dict[str, type[ProviderError]] = {
    "unreachable": Unreachable,
    "refused": AuthFailed,
    "gated": PermissionRefused,
}


def is_hub_name(source: str) -> bool:
    """Whether it can only be a name on the Hub: `owner/name` (`@revision`), and nothing of that name lies here."""
    return bool(_HUB_NAME.fullmatch(source)) and not Path(source).exists()


def named(source: str) -> Artifact:
    """A model to be deployed, by its folder, its GGUF file or its name on the Hub. Raises `SpecError`. Fetches nothing.

    What a name on the Hub leads to shows when it is fetched; until then it is taken for a whole model.
    """
    if is_hub_name(source):
        return Artifact(kind="model", uri=source)
    place = Path(source).expanduser()
    if not place.exists():
        raise SpecError(f"{source!r} is no folder here, and no name on the Hugging Face Hub (owner/name)")
    return Artifact(kind=_kind(place), uri=str(place.absolute()))


def at_hand(home: Path, artifact: Artifact, *, say: Callable[[str], None] | None = None) -> Artifact:
    """The same artifact on this machine: fetched if it is named by the Hub, and of the kind that it turned out to be.

    Raises as `folder` does.
    """
    if not is_hub_name(artifact.uri):
        return artifact
    place = folder(home, artifact.uri, say=say)
    return replace(artifact, kind=_kind(place), uri=str(place))


def folder(home: Path, source: str, *, say: Callable[[str], None] | None = None) -> Path:
    """The folder of a model: as given, or of its copy in huggingface_hub's cache, fetched now where it is not there.

    Blocks as long as the download takes. Weights other than safetensors are never fetched. Raises `Unreachable` when
    the Hub cannot be asked and the cache has no copy, `AuthFailed`, `PermissionRefused` for a gated model, `SpecError`
    when there is no such model.
    """
    if not is_hub_name(source):
        return Path(source).expanduser().absolute()
    engine = engine_for("model", "transformers")
    python = engine.python(home, say=say)
    if say is not None:
        say(f"fetching {source} from the Hugging Face Hub, unless it is here already")
    told = _fetched(source, python, engine.script, quiet=say is None)
    if told["path"] is not None:
        return Path(told["path"])
    kind = _ERRORS.get(told["kind"])
    raise SpecError(told["error"]) if kind is None else kind(f"[hub] {told['error']}")


def _fetched(source: str, python: Path, script: Path, *, quiet: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="finetune-fetch-") as place:
        file = Path(place) / "job.json"
        repo, _, revision = source.partition("@")
        file.write_text(json.dumps({"repo": repo, "revision": revision or None}), encoding="utf-8")
        done = subprocess.run(
            [str(python), "-I", "-u", str(script), "fetch", str(file)],
            env=surroundings.minimal({"HF_HUB_DISABLE_PROGRESS_BARS": "1"} if quiet else None),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if quiet else None,
            text=True,
            check=False,
        )
        result = Path(place) / "result.json"
        if not result.is_file():
            raise ProviderError(
                f"[hub] fetching {source} died ({done.returncode}): {(done.stderr or '').strip()[-800:]}"
            )
        told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return told


def _kind(place: Path) -> ArtifactKind:
    if place.suffix == ".gguf" and place.is_file():
        return "gguf"
    if len(list(place.glob("*.gguf"))) == 1 and not (place / "config.json").is_file():
        return "gguf"
    for name, kind in _KINDS:
        if (place / name).is_file():
            return kind
    names = ", ".join(name for name, _ in _KINDS)
    raise SpecError(f"there is no model in {place}: none of {names}, and it is no .gguf file")
