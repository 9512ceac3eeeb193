"""Other forms of a tuned model: merged safetensors, GGUF, a folder for vLLM, a push to the Hugging Face Hub.

Each form is compared with the model as it was trained, through the chat template of training: token ids, stop tokens,
first greedy tokens. Where they differ nothing is exported, and the difference is the error.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from finetune_sdk.deploy import card
from finetune_sdk.deploy.asked import trained_with
from finetune_sdk.deploy.engines import EngineKind, engine_for
from finetune_sdk.deploy.fetching import is_hub_name
from finetune_sdk.errors import FineTuneError, SpecError
from finetune_sdk.redact import redact
from finetune_sdk.types import Artifact
from finetune_sdk.worker import surroundings

Target = Literal["merged", "gguf", "hub", "vllm"]
TARGETS: tuple[Target, ...] = get_args(Target)
_QUESTIONS = Path(__file__).with_name("questions.jsonl")
_ASKED = 6
_ROWS = ("test", "validation", "train")


class ExportFailed(FineTuneError):
    """The form could not be made, or is not the model that was trained; nothing was exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export made."""

    to: Target
    path: str | None
    """The folder; None for a push."""
    url: str | None
    """The commit on the Hub."""
    revision: str | None = None
    """Its id: pin whoever loads the model to it."""
    files: tuple[str, ...]
    verdicts: tuple[Mapping[str, Any], ...]
    """Per form: conversations, equal prompts, equal answers, tokens compared and equal, tolerance."""


def export(
    home: Path,
    source: Path,
    *,
    to: Target,
    out: Path | None = None,
    base: str | None = None,
    quantizations: Sequence[str] = ("f16",),
    repo: str | None = None,
    public: bool = False,
    as_adapter: bool = False,
    name: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Exported:
    """Export the folder of an adapter or of a whole model; blocks, takes as long as loading it a few times.

    `out`: a folder that must not exist; None = `<source>-<to>` beside it. `quantizations`: of GGUF. `repo`, `public`,
    `as_adapter`: of the Hub; private unless said otherwise. Raises `SpecError`, `EnvError`, `ExportFailed`.
    """
    source = source.expanduser().absolute()
    kind = _kind(source)
    target = (out or source.with_name(f"{source.name}-{to}")).expanduser().absolute()
    _check(to, target, repo)
    engine = engine_for(kind, "transformers")
    python = engine.python(home, preferred=trained_with(home, Artifact(kind=kind, uri=str(source))), say=say)
    job = {
        "source": str(source),
        "to": to,
        "out": str(target),
        "base": base,
        "quantizations": list(quantizations),
        "template": str(engine.training_template),
        "conversations": _conversations(source),
        "repo": repo,
        "public": public,
        "as_adapter": as_adapter,
        "name": name or re.sub(r"[^A-Za-z0-9._-]+", "-", repo or target.name).strip("-"),
    }
    if to == "hub":
        return _pushed(engine, python, job)
    told = _run(engine, python, job)
    return Exported(to=to, path=str(target), url=None, files=_files(target), verdicts=tuple(told["verdicts"]))


def _pushed(engine: EngineKind, python: Path, job: dict[str, Any]) -> Exported:
    """Made in a folder that nobody sees, given its card, looked through for secrets, pushed."""
    source, repo = Path(job["source"]), str(job["repo"])
    with tempfile.TemporaryDirectory(prefix="finetune-push-") as place:
        folder = Path(place) / "model"
        told = _run(engine, python, {**job, "out": str(folder)})
        verdicts = tuple(told["verdicts"])
        base = job["base"] or _base(source)
        card.write(folder, source, repo=repo, base=base, adapter=job["as_adapter"], verdicts=verdicts)
        card.refuse_secrets(folder)
        files = _files(folder)
        wanted = {"folder": str(folder), "repo": repo, "public": job["public"], "message": "Upload by finetune-sdk"}
        done = _run(engine, python, wanted, deed="push")
    return Exported(to="hub", path=None, url=done["url"], revision=done["revision"], files=files, verdicts=verdicts)


def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(file.relative_to(folder)) for file in folder.rglob("*")))


def _base(source: Path) -> str | None:
    """What the adapter, or the model itself, says that it was made of."""
    for name, key in (("adapter_config.json", "base_model_name_or_path"), ("config.json", "_name_or_path")):
        with contextlib.suppress(OSError, ValueError):
            told: dict[str, Any] = json.loads((source / name).read_text(encoding="utf-8"))
            named: str | None = told.get(key)
            return named
    return None


def _kind(source: Path) -> Literal["adapter", "model"]:
    if (source / "adapter_config.json").is_file():
        return "adapter"
    if (source / "config.json").is_file():
        return "model"
    raise SpecError(f"there is no adapter and no model in {source}: neither adapter_config.json nor config.json")


def _check(to: Target, target: Path, repo: str | None) -> None:
    if to not in TARGETS:
        raise SpecError(f"{to!r} is no form to export to; there are: {', '.join(TARGETS)}, onnx")
    if to == "hub" and not (repo and is_hub_name(repo)):
        raise SpecError("a push to the Hub needs the name of a repository: repo='you/model' (`--repo`)")
    if to != "hub" and target.exists():
        raise SpecError(f"{target} is there already; choose another folder (out=, `--out`), or delete it")


def _conversations(source: Path) -> list[list[dict[str, Any]]]:
    """Prompts of the job that made the folder, else a few general questions."""
    data = source.parent.parent / "data"
    files = [data / f"{role}.jsonl" for role in _ROWS]
    file = next((one for one in files if source.parent.name == "artifacts" and one.is_file()), _QUESTIONS)
    found: list[list[dict[str, Any]]] = []
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            row: dict[str, Any] = json.loads(line)
            messages = _prompt(row)
            if messages:
                found.append(messages)
            if len(found) == _ASKED:
                break
    return found


def _prompt(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The plain text turns before the last answer; empty where a row has none."""
    if isinstance(row.get("prompt"), str):
        return [{"role": "user", "content": row["prompt"]}]
    messages: list[dict[str, Any]] = [*(row.get("messages") or row.get("prompt") or ())]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    plain = all(isinstance(one.get("content"), str) and one["role"] != "tool" for one in messages)
    return [{"role": one["role"], "content": one["content"]} for one in messages] if plain else []


def _run(engine: EngineKind, python: Path, job: Mapping[str, Any], *, deed: str = "export") -> dict[str, Any]:
    """What a deed in the engine's interpreter came to. Raises `ExportFailed`."""
    with tempfile.TemporaryDirectory(prefix="finetune-export-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(
            [str(python), "-I", "-u", str(engine.script), deed, str(file)],
            env=surroundings.minimal({"HF_HUB_DISABLE_PROGRESS_BARS": "1"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        result = Path(folder) / "result.json"
        if not result.is_file():
            raise ExportFailed(f"[export] the process died ({done.returncode}): {done.stderr.strip()[-1500:]}")
        told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if told["error"]:
        raise ExportFailed(f"[export] {redact(told['error'])}{_missing(told['error'], python)}")
    return told


def _missing(error: str, python: Path) -> str:
    """The command that installs what an export lacks."""
    if "No module named 'gguf'" in error or "No module named 'xllamacpp'" in error:
        return f". Install what GGUF needs: {python} -m pip install gguf xllamacpp"
    return ""
