"""Results written to every tracker by its own library, and read back by it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compare_made
import pytest
from managed_envs import managed_home

from finetune_sdk.compare.bench import Tracking
from finetune_sdk.compare.tracking.writing import LOCK, track
from finetune_sdk.errors import EnvError
from finetune_sdk.worker.envs import EnvStore

READERS = {
    "mlflow": """
import mlflow
mlflow.set_tracking_uri("sqlite:///" + folder + "/mlflow.db")
client = mlflow.MlflowClient()
found = {run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("tones").experiment_id])}
one = found["peft-lora"]
print(json.dumps({
    "names": sorted(found), "score": one.data.metrics["score/accuracy"], "provider": one.data.params["provider"],
    "losses": len(client.get_metric_history(one.info.run_id, "loss")),
    "more": [file.path for file in client.list_artifacts(found["comparison"].info.run_id)],
}))
""",
    "tensorboard": """
import os
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
names = sorted(os.listdir(folder + "/tones"))
read = EventAccumulator(folder + "/tones/peft-lora").Reload()
told = EventAccumulator(folder + "/tones/comparison").Reload().Tensors("summary")[0].tensor_proto.string_val[0].decode()
print(json.dumps({
    "names": names, "score": read.Scalars("score/accuracy")[0].value, "losses": len(read.Scalars("loss")),
    "provider": json.loads(read.Tensors("config")[0].tensor_proto.string_val[0])["provider"], "more": told,
}))
""",
    "trackio": """
import os
os.environ["TRACKIO_DIR"] = folder
import trackio
runs = {run.name: run for run in trackio.Api().runs("tones")}
from trackio.sqlite_storage import SQLiteStorage
logs = SQLiteStorage.get_logs("tones", "peft-lora")
print(json.dumps({
    "names": sorted(runs), "score": next(row["score/accuracy"] for row in logs if "score/accuracy" in row),
    "losses": sum("loss" in row for row in logs), "provider": runs["peft-lora"].config["provider"],
}))
""",
    "wandb": """
import glob
from wandb.proto import wandb_internal_pb2 as pb

def records(data):  # blocks of 32 KiB after a header of 7 bytes; a part has a sum, a length and a kind before it
    at, whole = 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield pb.Record.FromString(whole)
            whole = b""

found = {}
for path in glob.glob(folder + "/wandb/offline-run-*/*.wandb"):
    name, losses, scores, config = None, 0, {}, {}
    for record in records(open(path, "rb").read()):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            name = record.run.display_name or name
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            losses += any((item.key or item.nested_key[0]) == "loss" for item in record.history.item)
        elif kind == "summary":
            for item in record.summary.update:
                scores[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    found[name] = (losses, scores, config)
losses, scores, config = found["peft-lora"]
told = {"names": sorted(found), "score": scores["score/accuracy"], "losses": losses, "provider": config["provider"]}
print(json.dumps(told))
""",
}


@dataclass(frozen=True)
class Written:
    home: Path
    folder: Path
    places: dict[str, str]

    def read(self, tracker: str) -> dict[str, Any]:
        """What the tracker's own library reads there."""
        python = EnvStore(self.home).python("trackers", LOCK, wanted="managed")
        script = f"import json\nfolder = {str(self.folder / 'trackers' / tracker)!r}\n{READERS[tracker]}"
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])


def wanted(*to: str, **more: Any) -> Tracking:
    return Tracking.model_validate({"to": to, "project": "tones", "environment": "managed", **more})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("tracked")
    home = managed_home(folder / "home")
    (folder / "report.html").write_text("<p>the report</p>")
    places = track(wanted(*READERS), compare_made.results(), home=home, folder=folder, report=folder / "report.html")
    return Written(home, folder, places)


@pytest.mark.parametrize("tracker", READERS)
def test_a_run_for_each_candidate_with_its_scores_settings_and_losses(written: Written, tracker: str) -> None:
    found = written.read(tracker)
    assert set(found["names"]) >= {*compare_made.NAMES, "hosted"}
    assert found["score"] == pytest.approx(0.9)
    assert (found["provider"], found["losses"]) == ("peft", 60)


def test_mlflow_keeps_the_report(written: Written) -> None:
    assert written.read("mlflow")["more"] == ["report.html"]


def test_tensorboard_says_the_summary(written: Written) -> None:
    assert "unsloth-lora beats four-examples" in written.read("tensorboard")["more"]


def test_no_tracker_is_told_a_secret(written: Written) -> None:
    files = [path for path in written.folder.rglob("*") if path.is_file() and "envs" not in path.parts]
    assert [str(path) for path in files if compare_made.SECRET.encode() in path.read_bytes()] == []


def test_the_same_results_are_written_once(written: Written) -> None:
    before = sorted((written.folder / "trackers").rglob("*"))
    again = track(
        wanted(*READERS),
        compare_made.results(),
        home=written.home,
        folder=written.folder,
        report=written.folder / "report.html",
    )
    assert (again, sorted((written.folder / "trackers").rglob("*"))) == (written.places, before)


def test_a_tracker_that_is_not_installed_is_refused_with_what_installs_it(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="trackio"):
        track(
            wanted("trackio", environment="current"),
            compare_made.results(),
            home=tmp_path,
            folder=tmp_path,
            report=tmp_path / "report.html",
        )
