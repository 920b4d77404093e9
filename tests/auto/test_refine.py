"""Going on from a bundle: refined weights are kept where they are better, and only there."""

import shutil

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amsam_monai import refine, train
from amsam_monai.auto.pool import label_next
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.cli.train import app
from amsam_monai.phantoms.sets import write_phantoms
from tests.auto.test_train import QUICK


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures, and a bundle that has hardly seen them."""
    root = tmp_path_factory.mktemp("refine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMSAM_CACHE", str(root / "cache"))
        list(write_phantoms("isic", root / "skin", cases=4, side=48))
        train(root / "skin", root / "first", method="plain", **{**QUICK, "folds": 0, "steps": 1})
        yield root


def weights_of(root):
    return read_model(root / "models" / "model.pt").adapter


def test_better_weights_are_kept_with_what_was_measured(made):
    shutil.copytree(made / "skin" / "images", made / "whole" / "images")
    (made / "whole" / "labels").mkdir()
    for path in (made / "whole" / "images").iterdir():  # what is quickly learned: everything is the object
        with Image.open(path) as image:
            label = Image.new("L", image.size, 1)
        label.save(made / "whole" / "labels" / f"{path.stem}.png")
    told, labels = [], {1: "foreground"}
    refined = refine(made / "whole", made / "first", made / "second", labels=labels, steps=20, folds=2, say=told.append)
    assert refined.better
    assert refined.after > refined.before
    old, new = weights_of(made / "first"), weights_of(made / "second")
    assert any((old[name] != new[name]).any() for name in old)
    settings = read_model(made / "second" / "models" / "model.pt").settings
    assert settings.limits == read_model(made / "first" / "models" / "model.pt").settings.limits
    assert settings.quality["case"]["count"] >= 1
    report = (made / "second" / "report" / "refined.md").read_text(encoding="utf-8")
    assert f"Mean Dice {refined.before:.3f} before, {refined.after:.3f} after" in report
    assert any(line.startswith("fold 2: Dice") for line in told)
    load_bundle(made / "second", device="cpu")


def test_weights_that_are_no_better_leave_the_old_ones(made, tmp_path):
    shutil.copytree(made / "skin" / "images", tmp_path / "noise" / "images")
    (tmp_path / "noise" / "labels").mkdir()
    rng = np.random.default_rng(0)
    for path in sorted((tmp_path / "noise" / "images").iterdir()):
        with Image.open(path) as image:
            label = np.zeros(image.size[::-1], np.uint8)
        row, column = rng.integers(0, 40, 2)
        label[row, column] = 1  # what nobody can learn: a pixel anywhere
        Image.fromarray(label).save(tmp_path / "noise" / "labels" / f"{path.stem}.png")
    refined = refine(tmp_path / "noise", made / "first", tmp_path / "out", labels={1: "foreground"}, steps=2, folds=2)
    assert not refined.better
    old, new = weights_of(made / "first"), weights_of(tmp_path / "out")
    assert all((old[name] == new[name]).all() for name in old)
    assert "the old ones stay" in (tmp_path / "out" / "report" / "refined.md").read_text(encoding="utf-8")


def test_classes_that_the_bundle_lacks_are_refused(made, tmp_path):
    with pytest.raises(ValueError, match="named as the classes of first are, foreground, got mole"):
        refine(made / "skin", made / "first", tmp_path / "out", labels={255: "mole"})
    assert not (tmp_path / "out").exists()


def test_settings_of_the_bundle_cannot_be_told(made, tmp_path):
    arguments = [str(made / "skin"), "--from", str(made / "first"), "--out", str(tmp_path / "out"), "--side", "64"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "leave out --side" in result.output


def test_a_folder_that_is_there_is_refused(made):
    with pytest.raises(FileExistsError, match="must be a new folder"):
        refine(made / "skin", made / "first", made / "skin")


def test_the_worst_unlabelled_image_comes_first_and_the_labelled_are_passed_over(made, tmp_path):
    images = sorted((made / "skin" / "images").iterdir())
    (tmp_path / "pool").mkdir()
    for path in images:
        shutil.copy(path, tmp_path / "pool")
    (tmp_path / "pool" / "broken.png").write_bytes(b"no picture")
    known = tmp_path / "pool" / images[0].name
    found = label_next(made / "first", tmp_path / "pool", known=[known])
    assert [one.image.name for one in found].count(images[0].name) == 0
    assert [one.worst for one in found] == sorted(one.worst for one in found)
    assert found[-1].image.name == "broken.png"
    table = (made / "first" / "report" / "label_next.md").read_text(encoding="utf-8")
    assert table.index(found[0].image.name) < table.index(found[1].image.name) < table.index("broken.png")
    with pytest.raises(FileNotFoundError, match="not labelled yet, found none"):
        label_next(made / "first", made / "skin" / "images", known=images)
