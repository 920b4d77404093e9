"""A training of the label server that is killed, or whose server ends: who says so, what stays, what goes."""

import os
import signal
import time

import pytest
from typer.testing import CliRunner

from amsam_monai.cli import app
from tests.faults.children import run
from tests.faults.test_leftovers import killed_at_work
from tests.label_app.serving import requests, serving
from tests.label_app.test_server import ending, save_label
from tests.label_app.test_service import save_balls
from tests.label_app.trainable_bundle import write_trainable_bundle

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

pytestmark = pytest.mark.label

MODEL = "nano_segmentation"
LONG = {"max_epochs": 50_000, "steps_per_epoch": 1, "val_split": 0}


def stats(server):
    """What the server tells of the training that runs, or ended last."""
    return next(iter(requests.get(server.url + "/info/", timeout=60).json()["train_stats"].values()))


def training(server):
    """The same once a training is at work."""
    while "total_time" in (told := stats(server)) or not told:
        time.sleep(0.2)
    return told


def folders(server, kind):
    return set(server.temporary.glob(f"amsam-{kind}-*"))


def test_a_training_that_is_killed_or_whose_server_ends_is_told_and_leaves_nothing(tmp_path):
    studies = save_balls(tmp_path, 2)
    bundle = write_trainable_bundle(tmp_path / "bundles", "amsam", name=MODEL, classes="{liver: 1}")
    weights = studies / ".amsam_label" / "model" / MODEL / "models" / "model.pt"
    (tmp_path / "tmp").mkdir()
    for kind in ("server", "train"):
        assert run(killed_at_work, f"amsam-{kind}-", tmp_path / "tmp") == -signal.SIGKILL
    with serving(tmp_path, studies, [bundle]) as server:
        (own,) = folders(server, "server")  # and none that was left
        assert own.stat().st_mode & 0o077 == 0  # nobody else reads what clients send
        assert not folders(server, "train")
        for place in ([], ["--app-dir", str(tmp_path / "other")]):
            refused = CliRunner().invoke(app, ["label", "start", str(studies), "--bundle", str(bundle), *place])
            assert refused.exit_code == 1
            assert "another label server writes there already" in " ".join(refused.output.split())
        for number in range(2):
            assert save_label(server, number, ["liver"]).status_code == 200
        before = weights.read_bytes()
        more = {"note": "a" * 300_000}  # longer than a command line may be
        assert server.post(f"/train/{MODEL}", json=LONG | more).status_code == 200
        os.kill(training(server)["process"], signal.SIGKILL)
        assert ending(server) == "ERROR"
        assert stats(server)["total_time"] == "stopped"
        assert server.infer(MODEL, "p0").status_code == 200
        assert server.post(f"/train/{MODEL}", json=LONG).status_code == 200
        while (last := training(server))["epoch"] < 2:
            time.sleep(0.2)
    assert "the training that ran with it; the weights of before stay" in server.log()
    assert not os.path.exists(f"/proc/{last['process']}")
    assert weights.read_bytes() == before
    assert not list(server.temporary.glob("amsam-*"))
