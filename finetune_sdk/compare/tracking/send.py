# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""`python -I send.py PAYLOAD`: write a comparison to one tracker. Runs where the tracker's library is; imports no SDK.

The payload: {"tracker", "folder", "project", "summary", "report", "runs": [{"name", "config": {..}, "scores": {..},
"losses": [[step, loss], ..]}]}. Prints where it wrote to.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

_UNSAFE = re.compile(r"[^A-Za-z0-9_. /-]+")  # what MLflow refuses in names of metrics and parameters


def mlflow(payload: Mapping[str, Any], folder: Path) -> str:
    """An experiment with a run for each candidate, and one that holds the report."""
    import mlflow as library  # noqa: PLC0415 - only the chosen one is there

    given = os.environ.get("MLFLOW_TRACKING_URI")  # asked before the library sets it by itself
    uri = given or f"sqlite:///{folder / 'mlflow.db'}"
    library.set_tracking_uri(uri)
    if library.get_experiment_by_name(payload["project"]) is None:
        own = None if given else (folder / "artifacts").as_uri()
        library.create_experiment(payload["project"], artifact_location=own)
    library.set_experiment(payload["project"])
    for run in payload["runs"]:
        with library.start_run(run_name=run["name"]):
            library.log_params({key: str(value)[:500] for key, value in run["config"].items()})
            library.log_metrics({_UNSAFE.sub("-", key): value for key, value in run["scores"].items()})
            for step, loss in run["losses"]:
                library.log_metric("loss", loss, step=step)
    with library.start_run(run_name="comparison"):
        library.set_tag("mlflow.note.content", payload["summary"])
        library.log_artifact(payload["report"])
    return uri


def tensorboard(payload: Mapping[str, Any], folder: Path) -> str:
    """A run's folder for each candidate: losses and scores as scalars, its settings and the summary as text."""
    from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415
    from tensorboard.plugins.text.summary_v2 import text_pb  # noqa: PLC0415
    from tensorboard.summary.writer.event_file_writer import EventFileWriter  # noqa: PLC0415

    def scalar(name: str, value: float) -> Summary:
        return Summary(value=[Summary.Value(tag=name, simple_value=value)])

    def written(name: str, summaries: Iterator[tuple[int, Summary]]) -> None:
        writer = EventFileWriter(str(folder / payload["project"] / name))
        for step, summary in summaries:
            writer.add_event(Event(step=step, wall_time=payload["at"], summary=summary))
        writer.close()

    def parts(run: Mapping[str, Any]) -> Iterator[tuple[int, Summary]]:
        yield 0, text_pb("config", json.dumps(run["config"], indent=1, ensure_ascii=False))
        for key, value in run["scores"].items():
            yield 0, scalar(key, value)
        for step, loss in run["losses"]:
            yield step, scalar("loss", loss)

    for run in payload["runs"]:
        written(run["name"], parts(run))
    written("comparison", iter([(0, text_pb("summary", payload["summary"]))]))
    return str(folder / payload["project"])


def trackio(payload: Mapping[str, Any], folder: Path) -> str:
    """A project with a run for each candidate."""
    place = os.environ.setdefault("TRACKIO_DIR", str(folder))
    import trackio as library  # noqa: PLC0415 - it reads its variable when it is imported

    for run in payload["runs"]:
        library.init(project=payload["project"], name=run["name"], config=run["config"], embed=False)
        for step, loss in run["losses"]:
            library.log({"loss": loss}, step=step)
        library.log(run["scores"])
        library.finish()
    return place


def wandb(payload: Mapping[str, Any], folder: Path) -> str:
    """A group with a run for each candidate; offline unless WANDB_MODE says otherwise."""
    import wandb as library  # noqa: PLC0415 - only the chosen one is there

    mode = os.environ.get("WANDB_MODE", "offline")
    settings = library.Settings(mode=mode, console="off", silent=True)
    for run in payload["runs"]:
        begun = library.init(
            project=payload["project"], group="comparison", name=run["name"], config=run["config"], dir=folder,
            settings=settings, reinit="finish_previous",
        )  # fmt: skip
        for step, loss in run["losses"]:
            begun.log({"loss": loss}, step=step)
        begun.summary.update({**run["scores"], "comparison": payload["summary"]})
        begun.finish()
    return str(folder / "wandb") if mode == "offline" else payload["project"]


TRACKERS: Mapping[str, Callable[[Mapping[str, Any], Path], str]] = {
    "mlflow": mlflow,
    "tensorboard": tensorboard,
    "trackio": trackio,
    "wandb": wandb,
}


def main() -> None:
    """Write what the payload holds."""
    payload = json.loads(Path(sys.argv[1]).read_bytes())
    folder = Path(payload["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    place = TRACKERS[payload["tracker"]](payload, folder)
    sys.stdout.write(f"\nwritten: {place}\n")


if __name__ == "__main__":
    main()
