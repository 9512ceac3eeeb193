"""What goes to the rented machine: the job's folder, the worker, and the few modules of the SDK that watch over it.

job/agent.py            runs the rest there
job/order.json          how the environment is made, how often it reports
job/spec.json, data/    as in a job folder here
job/code/…              the provider's worker
job/sdk/…               runner, supervisor and what they need: standard library only
job/lock/…              the locks for machines without and with a GPU
job/model/…             a base model that lies on this machine
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune_sdk import redact, worker
from finetune_sdk.errors import SpecError
from finetune_sdk.worker import locks
from finetune_sdk.worker.installers import Installer
from finetune_sdk.worker.places import Code, Order

AGENT = Path(__file__).with_name("worker") / "agent.py"
CLIENT = "huggingface_hub==2.4.0"
"""What the agent talks to the Hub with."""
_SDK = Path(worker.__file__).parent
_WATCHERS = ("runner.py", "supervisor.py", "wire.py", "ends.py", "launchers.py", "surroundings.py")
_PYTHONS = ("3.11", "3.12", "3.13")
_FOLDER, _LOCK = "{folder}", "{lock}"

START = (
    "import os, runpy; from huggingface_hub import hf_hub_download as get; "
    "runpy.run_path(get(os.environ['FTSDK_REPO'], 'job/agent.py', revision=os.environ['FTSDK_COMMIT'], "
    "endpoint=os.environ.get('HF_ENDPOINT')), run_name='__main__')"
)
"""One line: longer ones are said to arrive flattened."""
COMMAND = ("uv", "run", "--no-project", "--with", CLIENT, "python", "-c", START)


def python_for(code: Code) -> str:
    """The oldest Python that the worker's lock was made for."""
    wanted = locks.read(code.environment.lock).python
    found = next((one for one in _PYTHONS if wanted.contains(f"{one}.9")), None)
    if found is None:
        raise SpecError(f"[{code.name}] no Python of {', '.join(_PYTHONS)} satisfies {wanted} of its lock")
    return found


def image(code: Code) -> str:
    """Astral's image with uv and that Python; what `run_uv_job` takes by default, for another Python."""
    return f"ghcr.io/astral-sh/uv:python{python_for(code)}-bookworm"


def files(folder: Path, code: Code, order: Order) -> dict[str, Path | bytes]:
    """Path in the repository -> what lies there. `folder` holds the data already."""
    found: dict[str, Path | bytes] = {"job/agent.py": AGENT, "job/sdk/redact.py": Path(redact.__file__)}
    found |= {f"job/sdk/worker/{name}": _SDK / name for name in _WATCHERS}
    found |= {f"job/data/{path.name}": path for path in sorted((folder / "data").glob("*.jsonl"))}
    for part in (code.worker, *code.beside):
        found |= dict(_code(part))
    variants: dict[locks.Variant, Path] = {
        variant: locks.choose(code.environment.lock, variant) for variant in _variants(code)
    }
    found |= {f"job/lock/{variant}.lock": path for variant, path in variants.items()}
    model = _model(order.request)
    if model is not None:
        found |= {f"job/model/{path.relative_to(model)}": path for path in _inside(model)}
    found["job/spec.json"] = _json(_spec(code, order))
    found["job/order.json"] = _json(_order(code, order, variants, model))
    return found


def _spec(code: Code, order: Order) -> dict[str, Any]:
    """As `process.start` writes it; the agent fills in where things lie there."""
    processes = order.compute.get("processes", 1)
    worker_path = _place(code.worker)
    named = {"protocol": 1, "job_id": order.key, "attempt": 1, "worker": worker_path, "python": ""}
    return {**named, "request": dict(order.request), "processes": processes}


def _order(code: Code, order: Order, variants: Mapping[locks.Variant, Path], model: Path | None) -> dict[str, Any]:
    return {
        "key": order.key,
        "provider": code.name,
        "install": {variant: _install(code, path) for variant, path in variants.items()},
        "smoke": list(code.environment.smoke),
        "model": None if model is None else str(model),
    }


def _install(code: Code, lock: Path) -> list[list[str]]:
    """The installer's own commands, with uv by name and the places still open."""
    made = Installer(uv="uv").commands(Path(python_for(code)), Path(_FOLDER), locks.read(lock))
    return [[_LOCK if word == str(lock) else word for word in command] for command in made]


def _variants(code: Code) -> tuple[locks.Variant, ...]:
    lock = locks.read(code.environment.lock)
    return ("cpu",) if lock.variant == "any" else ("cpu", "cuda")


def _code(part: Path) -> Iterator[tuple[str, Path]]:
    if part.is_file():
        yield _place(part), part
        return
    for path in _inside(part):
        yield f"{_place(part)}/{path.relative_to(part)}", path


def _place(part: Path) -> str:
    """Beside its neighbours, as here: workers load one another by path."""
    return f"job/code/{part.parent.name}/{part.name}"


def _inside(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _model(request: Mapping[str, Any]) -> Path | None:
    """The base model's folder, if it lies on this machine."""
    name = request.get("model")
    return Path(name) if isinstance(name, str) and name.startswith("/") and Path(name).is_dir() else None


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
