"""`finetune export`: a tuned model in another form, compared with the trained one before it is handed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune_sdk.cli import _out
from finetune_sdk.cli._app import settings
from finetune_sdk.cli.deployments import home

if TYPE_CHECKING:
    from finetune_sdk.deploy.export import Exported


@click.command("export")
@click.argument("source", metavar="JOB|FOLDER")
@click.option("--to", "form", required=True, type=click.Choice(["merged", "gguf", "hub", "vllm", "onnx"]))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="DIR", help="The new folder.")
@click.option("--base", metavar="MODEL", help="An adapter's base model. Default: the one it names.")
@click.option("--quantization", "quantizations", multiple=True, metavar="KIND", help="Of GGUF: f16 (default), q8_0 ...")
@click.option("--repo", metavar="OWNER/NAME", help="Of the Hub.")
@click.option("--public", is_flag=True, help="Of the Hub: let everybody see it. Default: private.")
@click.option("--adapter", "as_adapter", is_flag=True, help="Of the Hub: push the adapter, not the merged model.")
@click.option(
    "--precision", metavar="KIND", default="auto", help="Of ONNX: fp32, fp16, int8, int4; several: fp32,int4."
)
@click.option("--device", metavar="KIND", default="cpu", help="Of ONNX: cpu (default), cuda, dml, webgpu, trt-rtx.")
@settings
def command(
    source: str,
    form: str,
    out: Path | None,
    base: str | None,
    quantizations: tuple[str, ...],
    repo: str | None,
    public: bool,
    as_adapter: bool,
    precision: str,
    device: str,
) -> None:
    """Export a job's model, or the folder of an adapter or model.

    Before anything is handed over, the form is asked the same as the trained model: the prompts' tokens, the stop
    tokens and the first greedy tokens must agree, else the export fails and shows the difference.
    """
    from finetune_sdk.deploy.export import TARGETS, export  # noqa: PLC0415 - not for `--help`

    folder = _folder(source)
    if form not in TARGETS:
        if out is not None:
            raise click.UsageError("an ONNX package is an artefact of the job that makes it: leave out --out")
        return _onnx(folder, precision, device, base)
    done = export(
        home(),
        folder,
        to=next(one for one in TARGETS if one == form),
        out=out or (Path(f"{Path(source).name}-{form}") if form != "hub" else None),
        base=base,
        quantizations=quantizations or ("f16",),
        repo=repo,
        public=public,
        as_adapter=as_adapter,
        say=_out.say,
    )
    _out.data(done, lambda: _text(done))
    return None


def _folder(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source)
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    return FineTuneJob.attach(source, home=home()).exportable()


def _onnx(folder: Path, precision: str, device: str, base: str | None) -> None:
    """An ordinary job, to be followed like any other."""
    from finetune_sdk.deploy.onnx_export import spec_for  # noqa: PLC0415
    from finetune_sdk.job import FineTuneJob  # noqa: PLC0415

    wanted = precision.split(",") if "," in precision else precision
    job = FineTuneJob.submit(spec_for(folder, precision=wanted, device=device, base=base), home=home())
    _out.say(f"follow it:  {_out.hint('jobs', 'follow', job.id)}")
    _out.data({"job": job.id}, lambda: f"{job.id} exports {folder} to ONNX")


def _text(done: Exported) -> str:
    rows = [
        (
            str(one["form"]),
            f"{one['equal_prompts']} of {one['conversations']} prompts equal",
            f"{one['equal_tokens']} of {one['tokens']} greedy tokens equal",
        )
        for one in done.verdicts
    ]
    return "\n".join([*([_out.columns(rows)] if rows else []), done.url or f"wrote {_out.short_path(done.path or '')}"])
