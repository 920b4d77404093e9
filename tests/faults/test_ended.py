"""Commands that are told to end (SIGTERM): what is written then, and how the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amsam_monai.cli import app
from tests.data.tiny_sets import isic_pair, mask, picture
from tests.faults.children import FORK, end_at, run
from tests.faults.test_killed import contents
from tests.label_app.nano_bundle import write_nano_bundle

pytestmark = [pytest.mark.skipif(FORK is None, reason="needs fork"), pytest.mark.usefixtures("one_thread")]

ENDED = 128 + signal.SIGTERM
PICTURES = 100  # more than are segmented while a signal is on its way


@pytest.mark.slow
def test_a_folder_that_is_segmented_is_reported_and_resumed(tmp_path):
    """The command as a process of its own, as a scheduler ends it."""
    for number in range(PICTURES):
        picture(tmp_path / "in" / f"{number:03}.png", 160, 160)
    bundle, out = write_nano_bundle(tmp_path, labels=("lesion",), data_type="png"), tmp_path / "out"
    command = [sys.executable, "-m", "amsam_monai", "segment", str(tmp_path / "in"), str(out), "--bundle", str(bundle)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(out.glob("*.png"))) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    assert process.wait() == ENDED
    report = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))
    done = {Path(case["output"]).name for case in report["cases"] if case["status"] == "done"}
    there = {path.name for path in out.glob("*.png")}
    assert 2 <= len(done) < PICTURES
    assert done <= there
    assert len(there - done) <= 1  # written, and the signal came before it was noted
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert run(app, [*command[3:], "--resume"]) == 0
    report = json.loads((out / "segment_report.json").read_text(encoding="utf-8"))
    assert report["counts"] == {"done": PICTURES - len(there), "skipped": len(there), "failed": 0}
    assert len(list(out.glob("*.png"))) == PICTURES


def test_a_data_set_that_is_prepared_leaves_nothing_half_written(tmp_path):
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(tmp_path / "data", stem)
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ["prepare", "isic", str(tmp_path / "data")]
    assert run(app, [*command, str(whole)]) == 0
    ended = 0
    for number in (2, 9, 17, 100):
        code = run(end_at, number, out, app, [*command, str(out)])
        assert code in (0, ENDED), number
        left = [path.name for path in out.glob(".*")]
        assert not [name for name in left if not name.startswith(".old-")], number  # told while it was cleared away
        if (out / "dataset.json").exists():
            assert contents(out) == contents(whole)
        ended += code == ENDED
        assert run(app, [*command, str(out)]) == 0
        assert contents(out) == contents(whole)
        assert not list(out.glob(".*"))
    assert ended == 3


def test_scores_are_whole_or_not_there(tmp_path):
    for name in ("a", "b"):
        mask(tmp_path / "labels" / f"{name}.png", value=1)
    folder, out = str(tmp_path / "labels"), tmp_path / "out"
    command = ["evaluate", folder, folder, "--labels", "1=lesion", "--out"]
    assert run(app, [*command, str(tmp_path / "whole")]) == 0
    wanted = contents(tmp_path / "whole")
    for number in (3, 5):
        assert run(end_at, number, out, app, [*command, str(out)]) == ENDED
        assert contents(out).items() <= wanted.items()
        assert not list(out.rglob(".*"))
    assert run(app, [*command, str(out)]) == 0
    assert contents(out) == wanted
