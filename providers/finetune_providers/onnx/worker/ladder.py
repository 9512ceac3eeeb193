"""Candidates in turn: built, measured, judged; then one is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import adapters, children, olive, packaging, verdict
from .stages import Done

_FROM_REFERENCE = ("bench_prompt", "bench_new", "vocabulary", "max_length")


@dataclass
class Verdict:
    """What the candidates came to."""

    chosen: str
    candidates: list[dict[str, Any]]
    passing: dict[str, Path]
    """The packages of those that keep the tolerance."""

    @property
    def figures(self) -> dict[str, Any]:
        """Those of the chosen one."""
        return next(one for one in self.candidates if one["name"] == self.chosen)


def climb(flow: Any, model: dict[str, Any], reference: Done) -> Verdict:
    """Try the candidates; raises `ctx.Failed` when none keeps the tolerance."""
    export, ctx = flow.export, flow.ctx
    tried: dict[str, dict[str, Any]] = {}
    passing: dict[str, Path] = {}
    for number, candidate in enumerate(export["candidates"]):
        if _enough(flow, tried, passing):
            skipped = [one["name"] for one in export["candidates"][number:]]
            if export["policy"] == "all":
                ctx.event(f"the search's {export['minutes']:g} minutes are over; not tried: {', '.join(skipped)}")
            break
        figures, folder = _try(flow, model, reference, candidate)
        tried[candidate["name"]] = figures
        _tell(flow, figures)
        if not figures["failures"]:
            passing[candidate["name"]] = folder
    return _choose(flow, reference, tried, passing)


def _enough(flow: Any, tried: dict[str, Any], passing: dict[str, Path]) -> bool:
    if not tried:
        return False
    if flow.export["policy"] == "ladder":
        return bool(passing)
    minutes = flow.export["minutes"]
    return minutes is not None and sum(one["seconds"] for one in tried.values()) > minutes * 60


def _try(flow: Any, model: dict[str, Any], reference: Done, candidate: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    name = candidate["name"]
    built = _build(flow, model, candidate)
    orders = {
        **flow.orders(),
        **{size: reference.result[size] for size in _FROM_REFERENCE if size in reference.result},
        "name": name,
        "package": str(built.folder),
        "questions": str(reference.folder / "questions.json"),
        "reference": str(reference.folder / "reference.npz"),
    }
    inputs = {"build": built.key, "reference": reference.key, "custom": orders["custom_sha256"]}

    def work(_folder: Path) -> dict[str, Any]:
        return children.run(flow.ctx, flow.task("measure"), orders)

    done = flow.stages.run(f"measure-{name}", inputs, work, what=f"{name}: loading and measuring the package")
    figures = {
        **done.result,
        "name": name,
        "precision": candidate["precision"],
        "settings": _settings(candidate),
        **({"olive": built.result["olive"]} if "olive" in built.result else {}),
        "build_s": built.seconds,
        "build_peak_memory_bytes": built.result["peak_memory_bytes"],
        "seconds": built.seconds + done.seconds,
    }
    figures["failures"] = verdict.failures(reference.result, figures, flow.export["tolerance"])
    if flow.apart:
        figures["adapters"] = adapters.measure(flow, built, orders, flow.apart_references)
        figures["failures"] += [text for one in figures["adapters"].values() for text in one["failures"]]
    return figures, built.folder


def _settings(candidate: dict[str, Any]) -> dict[str, Any]:
    """What the package was built with, for its manifest."""
    block = candidate["embeddings_block"]
    return candidate["passes"] or {**candidate["extra"], **({} if block is None else {"embeddings": f"int8/{block}"})}


def _build(flow: Any, model: dict[str, Any], candidate: dict[str, Any]) -> Done:
    orders = {
        **flow.orders(),
        **candidate,
        "model": model["path"],
        "cache": str(flow.ctx.dir / "scratch" / "builder"),
    }
    inputs = {"model": model["key"], "device": orders["device"], **candidate, "adapters": adapters.identity(flow.apart)}
    inputs |= olive.building_key(flow)

    def work(folder: Path) -> dict[str, Any]:
        given = {**orders, "out": str(folder)}
        if not flow.export["merge"]:
            return adapters.build(flow, given, flow.apart)
        if flow.export["olive"] is not None:
            return children.run(flow.ctx, "olive_build", {**given, **olive.building(flow, candidate)}, heavy=True)
        return children.run(flow.ctx, flow.task("build"), given, heavy=True)

    return flow.stages.run(
        f"build-{candidate['name']}", inputs, work, what=f"{candidate['name']}: building the package"
    )


def _tell(flow: Any, figures: dict[str, Any]) -> None:
    numbers = {name: float(figures[name]) for name in packaging.METRICS if figures.get(name) is not None}
    if figures["failures"]:
        flow.ctx.event(f"{figures['name']} fails: {'; '.join(figures['failures'])}", level="warning", **numbers)
    else:
        flow.ctx.event(f"{figures['name']} passes", **numbers)
    if figures.get("tokenizer_agrees") is False:
        flow.ctx.event(
            f"{figures['name']}: onnxruntime-genai's tokenizer splits some prompts differently than transformers' does",
            level="warning",
        )


def _choose(flow: Any, reference: Done, tried: dict[str, dict[str, Any]], passing: dict[str, Path]) -> Verdict:
    chosen = verdict.recommended({name: tried[name] for name in passing})
    on_front = verdict.front(tried)
    for name, figures in tried.items():
        figures["front"], figures["chosen"] = name in on_front, name == chosen
    if chosen is None:
        packaging.write_table(flow, reference, list(tried.values()))
        flow.clean()
        why = "; ".join(f"{name}: {', '.join(one['failures'])}" for name, one in tried.items())
        raise flow.ctx.Failed(
            f"no package keeps options.onnx.tolerance: {why}. The comparison is in artifacts/verdict.md. "
            "Loosen the tolerance, or allow a higher precision (precision: auto)."
        )
    failed = [name for name, one in tried.items() if one["failures"]]
    fell = f" (after {', '.join(failed)} failed)" if failed and flow.export["policy"] == "ladder" else ""
    flow.ctx.event(f"chosen: {chosen}{fell}")
    return Verdict(chosen=chosen, candidates=list(tried.values()), passing=passing)
