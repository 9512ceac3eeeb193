"""The report of a comparison in Chromium: light, dark, printed, by keyboard, without a request to anywhere."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import compare_made
import pytest

from finetune_sdk.compare.report import html
from finetune_sdk.compare.report.figures import apart

MODULES = Path(__file__).parents[1] / "emulators" / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NODE = shutil.which("node")
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or NODE is None or not (MODULES / "playwright-core").exists(),
    reason="chromium, node or playwright-core is not installed: run `make emulators`",
)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser saw; FINETUNE_SHOTS=FOLDER keeps screenshots."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(html(compare_made.results()), encoding="utf-8")
    script = Path(__file__).parents[1] / "compare_page.mjs"
    shots = [os.environ["FINETUNE_SHOTS"]] if "FINETUNE_SHOTS" in os.environ else []
    command = [str(NODE), str(script), str(MODULES), (folder / "report.html").as_uri(), *shots]
    environment = {**os.environ, "CHROMIUM": str(CHROMIUM), "HOME": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@needs_browser
class TestInABrowser:
    def test_the_page_asks_nobody_and_breaks_nowhere(self, seen: dict[str, Any]) -> None:
        assert (seen["faults"], seen["strangers"]) == ([], [])

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_no_label_of_a_chart_covers_another_one_or_leaves_it(self, seen: dict[str, Any], scheme: str) -> None:
        assert seen[scheme]["charts"] == 5
        assert seen[scheme]["overlaps"] == []

    def test_a_dark_room_gets_a_dark_page(self, seen: dict[str, Any]) -> None:
        assert seen["light"]["background"] == seen["dark"]["ink"] or seen["dark"]["background"] == "rgb(21, 20, 18)"
        assert seen["light"]["background"] == "rgb(251, 250, 248)"

    def test_nothing_has_to_be_scrolled_sideways(self, seen: dict[str, Any]) -> None:
        assert (seen["light"]["wide"], seen["phone"]) == (False, False)

    def test_the_items_can_be_browsed_by_keyboard(self, seen: dict[str, Any]) -> None:
        assert seen["all"] == [10, "24 of 24 items"]
        assert seen["more"] == 20
        assert seen["find"][0] == 1
        assert "Is <b>this</b> number 17? </script>" in seen["find"][1]
        assert seen["won"] == "8 of 24 items"

    def test_a_print_is_light_and_shows_what_is_folded(self, seen: dict[str, Any]) -> None:
        assert seen["print"] == {"background": "rgb(255, 255, 255)", "controls": "none", "pairs": True}


def test_the_page_tells_no_secret() -> None:
    assert compare_made.SECRET not in html(compare_made.results())


def test_labels_that_would_cover_each_other_move_and_stay_in_the_plot() -> None:
    wanted = [(0.0, 290.0 + index, 80.0) for index in range(6)]
    placed = apart(wanted, 300.0)
    assert max(placed) <= 300.0
    ordered = sorted(placed)
    assert min(two - one for one, two in itertools.pairwise(ordered)) >= 15.0


def test_labels_that_stand_beside_each_other_stay_where_they_are() -> None:
    assert apart([(0.0, 50.0, 40.0), (100.0, 52.0, 40.0)], 300.0) == [50.0, 52.0]
