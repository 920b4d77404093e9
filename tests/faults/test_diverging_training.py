"""A training that diverges: who stops it, what is kept, what is said."""

import json

import pytest

from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.run import run_training
from amsam_monai.handlers import DivergenceError
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.training import TrainOptions, train_bundle
from tests.label_app.test_training import balls
from tests.label_app.trainable_bundle import write_trainable_bundle


def entries(folder):
    return [
        {"image": str(case.image), "label": str(case.label), "label_rule": "table", "case_id": case.case_id}
        for case in balls(folder, 2)
    ]


@pytest.mark.parametrize("method", ["amsam", "aisam", "autosam"])
def test_every_method_stops_and_keeps_the_model_of_before(tmp_path, method):
    root = write_trainable_bundle(tmp_path, method, classes="{ball: 1}")
    before = (root / "models" / "model.pt").read_bytes()
    where = r"the loss is (nan|inf) at epoch \d, batch \d+ of \d+ \(p|epoch \d left "
    said = rf"training diverged: ({where}).*as the last good epoch"
    with pytest.raises(DivergenceError, match=said):
        run_training(
            root,
            datalist={"train": entries(tmp_path), "val": [], "test": []},
            overrides={"learning_rate": 1e12, "max_epochs": 3, "batch_size": 2},
        )
    assert (root / "models" / "model.pt").read_bytes() == before
    read_model(root / "models" / "model.pt")


def test_the_label_server_goes_on_serving_and_says_why(tmp_path):
    root = write_trainable_bundle(tmp_path, "amsam")
    before = (root / "models" / "model.pt").read_bytes()
    refine = root / "configs" / "refine.yaml"
    refine.write_text(
        refine.read_text(encoding="utf-8").replace("learning_rate: 0.001", "learning_rate: 1.0e+12"), encoding="utf-8"
    )
    progress = TrainingProgress(tmp_path / "t.json")
    options = TrainOptions(max_epochs=2, steps_per_epoch=2, val_split=0)
    with pytest.raises(DivergenceError, match="training diverged"):
        train_bundle(root, balls(tmp_path, 2), options, cache=tmp_path / "cache", progress=progress)
    assert (root / "models" / "model.pt").read_bytes() == before
    assert "training diverged" in json.loads(progress.path.read_text(encoding="utf-8"))["error"]
