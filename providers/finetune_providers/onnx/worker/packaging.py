"""The package as it is handed over: model, tokenizer, manifest, README; and the receipt, extended by the verdict."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import children, verdict
from .stages import Done, digest, hashes

FORMAT = {"causal": "onnxruntime-genai", "classifier": "onnxruntime-classifier"}
_LIBRARIES = (
    "onnxruntime", "onnxruntime-genai", "onnx", "onnx-ir", "torch", "transformers", "peft", "olive-ai", "numpy",
)  # fmt: skip
METRICS = (
    "bytes", "load_s", "peak_memory_bytes", "peak_memory_bytes_8", "first_token_s_1", "tokens_per_s_1",
    "tokens_per_s_8", "logits_max_diff", "kl", "first_token_agreement", "greedy_agreement", "perplexity", "exact_match",
)  # fmt: skip
_README = """\
# {name}

{what}, {precision}, for onnxruntime on {device}. Made by finetune-sdk from `{base}`.

{load}

How it compares with the unquantised PyTorch model, over {rows} held-out rows ({threads} thread(s), {prompt} tokens in,
{new} out; `manifest.json` has every figure):

{table}"""
_LOAD = {
    "causal": "Load the folder with onnxruntime-genai (`onnxruntime_genai.Model`); it needs nothing else: tokenizer "
    "and chat template are inside.",
    "classifier": "Load `model.onnx` with onnxruntime, `tokenizer.json` with tokenizers; labels: `manifest.json`.",
}


def finish(
    flow: Any, *, trained: dict[str, Any] | None, source: dict[str, Any], reference: Done, verdict: Any
) -> dict[str, Any]:
    """Write the package aside, make it generate a token, put it in its place; answers the job's result."""
    ctx = flow.ctx
    flow.stages.stop_if_told()
    ctx.event("packaging")
    extra = [name for name in verdict.passing if name != verdict.chosen] if flow.export["keep_all"] else []
    for name in extra:
        _package(flow, name, f"onnx-{name}", source=source, reference=reference, verdict=verdict)
    _package(flow, verdict.chosen, "onnx", source=source, reference=reference, verdict=verdict)
    write_table(flow, reference, verdict.candidates)
    _predictions(flow, reference, verdict)
    metrics = _result_metrics(trained, reference, verdict.figures)
    receipt = _receipt(flow, trained, source=source, reference=reference, verdict=verdict, metrics=metrics)
    listed = [
        _listed(flow, "onnx", "artifacts/onnx", source),
        *(_listed(flow, "onnx", f"artifacts/onnx-{name}", source) for name in extra),
    ]
    listed += [artifact for artifact in (trained or {}).get("artifacts", []) if artifact["kind"] != "receipt"]
    if trained is None and (ctx.dir / "artifacts" / "predictions.jsonl").exists():
        listed.append(_listed(flow, "predictions", "artifacts/predictions.jsonl", source))
    listed.append({"kind": "receipt", "path": "artifacts/receipt.json", "sha256": digest(receipt)})
    usage = {"peak_memory_bytes": max(one["build_peak_memory_bytes"] for one in verdict.candidates)}
    usage |= (trained or {}).get("usage", {})
    flow.clean()
    return {"model": str(ctx.dir / "artifacts" / "onnx"), "metrics": metrics, "usage": usage, "artifacts": listed}


def _package(flow: Any, name: str, place: str, *, source: dict[str, Any], reference: Done, verdict: Any) -> None:
    ctx = flow.ctx
    final = ctx.dir / "artifacts" / place
    part = final.with_name(f"{final.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(verdict.passing[name], part, copy_function=os.link)  # a second name for the same bytes
    figures = next(one for one in verdict.candidates if one["name"] == name)
    shown = _manifest(flow, figures, source=source, reference=reference, candidates=verdict.candidates)
    (part / "README.md").write_text(_readme(flow, shown, reference, verdict.candidates), encoding="utf-8")
    manifest = {**shown, "files": {file: sha for file, (_, sha) in hashes(part).items()}}
    (part / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
    children.run(ctx, flow.task("smoke"), {"package": str(part), "name": name, "adapters": shown["adapters"]})
    shutil.rmtree(final, ignore_errors=True)
    part.rename(final)


def _manifest(
    flow: Any, figures: Any, *, source: dict[str, Any], reference: Done, candidates: list[Any]
) -> dict[str, Any]:
    export = flow.export
    return {
        "format": FORMAT[export["kind"]],
        "version": 1,
        "name": figures["name"],
        "precision": figures["precision"],
        "device": export["device"],
        "engine": export["engine"],
        "settings": figures["settings"],
        "base_model": source["base"] or source["path"],
        "source": source["path"],
        "chat_template": reference.result["chat_template"],
        "labels": reference.result.get("labels"),
        "adapters": [{"name": name, "file": f"adapters/{name}.onnx_adapter"} for name in sorted(flow.apart)],
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "verdict": _verdict(flow, reference, candidates),
    }


def _verdict(flow: Any, reference: Done, candidates: list[Any]) -> dict[str, Any]:
    shown = [{name: value for name, value in one.items() if name != "answers"} for one in candidates]
    return {
        "tolerance": flow.export["tolerance"],
        "threads": flow.threads,
        "machine": platform.platform(),
        "reference": {name: value for name, value in reference.result.items() if name != "answers"},
        "candidates": shown,
        "recommended": next((one["name"] for one in candidates if one.get("chosen")), None),
    }


def _readme(flow: Any, manifest: dict[str, Any], reference: Done, candidates: list[Any]) -> str:
    return _README.format(
        name=f"{Path(str(manifest['base_model'])).name} as ONNX",
        what="A classifier" if flow.export["kind"] == "classifier" else "A language model",
        precision=manifest["precision"],
        device=manifest["device"],
        base=manifest["base_model"],
        load=_LOAD[flow.export["kind"]],
        rows=reference.result["rows"],
        threads=flow.threads,
        prompt=reference.result["bench_prompt"],
        new=reference.result["bench_new"],
        table=verdict.table(reference.result, candidates),
    )


def write_table(flow: Any, reference: Done, candidates: list[Any]) -> None:
    """`artifacts/verdict.md` and `verdict.json`: also of an export that failed."""
    root = flow.ctx.dir / "artifacts"
    root.mkdir(exist_ok=True)
    (root / "verdict.md").write_text(verdict.table(reference.result, candidates), encoding="utf-8")
    body = json.dumps(_verdict(flow, reference, candidates), indent=1, ensure_ascii=False)
    (root / "verdict.json").write_text(body, encoding="utf-8")


def _predictions(flow: Any, reference: Done, verdict: Any) -> None:
    """Where nothing was trained but evaluation is asked for: PyTorch's answers as `base`, the package's as `tuned`."""
    if flow.request["train"] is not None or not flow.export["predictions"]:
        return
    asked = json.loads((reference.folder / "questions.json").read_text(encoding="utf-8"))
    lines = [
        {
            "row": number,
            "source": question.get("source"),
            "prompt": question["prompt"],
            "expected": question["expected"],
            "base": question["reference"],
            "tuned": answer,
            "base_nll": None,
            "tuned_nll": None,
            "tokens": None,
        }
        for number, (question, answer) in enumerate(zip(asked, verdict.figures["answers"], strict=True))
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (flow.ctx.dir / "artifacts" / "predictions.jsonl").write_text(text, encoding="utf-8")


def _result_metrics(trained: dict[str, Any] | None, reference: Done, figures: dict[str, Any]) -> dict[str, float]:
    found = {f"onnx_{name}": figures[name] for name in METRICS if figures.get(name) is not None}
    before = {f"pytorch_{name}": reference.result[name] for name in METRICS if reference.result.get(name) is not None}
    own = {f"onnx_{name}": value for name, value in figures["metrics"].items()}
    own |= {f"pytorch_{name}": value for name, value in reference.result["metrics"].items()}
    return {**(trained or {}).get("metrics", {}), **before, **found, **own}


def _receipt(flow: Any, trained: Any, *, source: Any, reference: Done, verdict: Any, metrics: dict[str, float]) -> Path:
    """The training's receipt with an `onnx` section; one of its own where nothing was trained."""
    ctx = flow.ctx
    final: Path = ctx.dir / "artifacts" / "receipt.json"
    body = json.loads(final.read_text(encoding="utf-8")) if trained is not None else _fresh(flow, source)
    body["spec_sha256"] = flow.request["spec_sha256"]
    body["request_sha256"] = hashlib.sha256(json.dumps(flow.request, sort_keys=True).encode()).hexdigest()
    body["request"] = flow.request
    body["finished_at"] = datetime.now(UTC).isoformat()
    body["attempts"] = ctx.attempt
    body["metrics"] = metrics
    body["packages"] = {**body["packages"], **{name: found for name in _LIBRARIES if (found := _version(name))}}
    body["onnx"] = {
        "chosen": verdict.chosen,
        "sha256": digest(ctx.dir / "artifacts" / "onnx"),
        **_verdict(flow, reference, verdict.candidates),
    }
    part = final.with_suffix(".part")
    part.write_text(json.dumps(body, indent=1, ensure_ascii=False), encoding="utf-8")
    return part.replace(final)


def _fresh(flow: Any, source: dict[str, Any]) -> dict[str, Any]:
    files = sorted((flow.ctx.dir / "data").glob("*.jsonl"))
    path = Path(source["base"] or source["path"])
    return {
        "job_id": flow.ctx.job_id,
        "data": {file.name: digest(file) for file in files},
        "base_model": {"name": str(path), "sha256": digest(path) if path.is_dir() else None},
        "source": {**source, "sha256": digest(Path(source["path"])) if Path(source["path"]).is_dir() else None},
        "seed": flow.request["seed"],
        "machine": {"python": platform.python_version(), "platform": platform.platform(), "threads": flow.threads},
        "sdk_version": flow.request["sdk_version"],
        "packages": {},
        "evaluation": None,
        "usage": {},
    }


def _listed(flow: Any, kind: str, path: str, source: dict[str, Any]) -> dict[str, Any]:
    template = flow.ctx.dir / path / "chat_template.jinja"
    return {
        "kind": kind,
        "path": path,
        "sha256": digest(flow.ctx.dir / path),
        "base_model": source["base"] or source["path"] if kind == "onnx" else None,
        "chat_template_sha256": digest(template) if template.is_file() else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
