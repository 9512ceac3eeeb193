"""Several adapters over one base: the base is built once with room for them, each becomes a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import children, verdict
from .stages import Done, digest


def named(flow: Any, source: dict[str, Any]) -> dict[str, str]:
    """The adapters' folders by name: the given ones, and the job's own as its suffix or `tuned`."""
    found: dict[str, str] = dict(flow.export["adapters"])
    if source["kind"] == "adapter":
        found.setdefault(flow.request["suffix"] or "tuned", source["path"])
    return found


def references(flow: Any, base: str, folders: dict[str, str]) -> dict[str, Done]:
    """What PyTorch answers with each adapter merged alone."""
    found: dict[str, Done] = {}
    for name, path in folders.items():
        source = {"kind": "adapter", "path": path, "base": base}
        found[name] = flow.reference(flow.merged(source, name=f"merge-{name}"), name=f"reference-{name}")
    return found


def build(flow: Any, orders: dict[str, Any], folders: dict[str, str]) -> dict[str, Any]:
    """The package, with `adapters/<name>.onnx_adapter`."""
    return children.run(flow.ctx, "apart", {**orders, "adapters": folders}, heavy=True)


def identity(folders: dict[str, str]) -> dict[str, str]:
    """What the adapters are, for a stage's key."""
    return {name: digest(Path(path)) for name, path in folders.items()}


def measure(flow: Any, built: Done, orders: dict[str, Any], found: dict[str, Done]) -> dict[str, dict[str, Any]]:
    """The figures with each adapter switched on, against that adapter merged alone; `failures` in each."""
    made: dict[str, dict[str, Any]] = {}
    for name, reference in found.items():
        file = built.folder / "adapters" / f"{name}.onnx_adapter"
        asked = {
            **orders,
            "adapter": {"name": name, "file": str(file)},
            "questions": str(reference.folder / "questions.json"),
            "reference": str(reference.folder / "reference.npz"),
        }
        inputs = {"build": built.key, "reference": reference.key, "custom": orders["custom_sha256"]}

        def work(_folder: Path, asked: dict[str, Any] = asked) -> dict[str, Any]:
            return children.run(flow.ctx, "measure", asked)

        what = f"{orders['name']}: measuring with the adapter {name} switched on"
        done = flow.stages.run(f"measure-{orders['name']}-{name}", inputs, work, what=what)
        broken = verdict.failures(reference.result, done.result, flow.export["tolerance"])
        made[name] = {**done.result, "failures": [f"{name}: {text}" for text in broken]}
    return made
