"""`amsam segment --instances` of two rectangles, by the boxes of a detector that gives the same ones always."""

import csv
import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.bundles.model_file import write_model
from amsam_monai.bundles.network import SYSTEMS
from amsam_monai.cli import app
from amsam_monai.data.files.images import read_image
from amsam_monai.networks.systems.amsam import AMSAM
from tests.networks.test_objects import FixedObjects

LEFT, RIGHT = (8, 8, 28, 56), (36, 8, 56, 56)  # x1, y1, x2, y2 in pixels of the picture, which fills the square
NOTHING = (20, 30, 20, 50)


def pixels():
    picture = np.full((64, 64), 210, np.uint8)
    for x1, y1, x2, y2 in (LEFT, RIGHT):
        picture[y1:y2, x1:x2] = 60
    return picture


@pytest.fixture
def segment(tmp_path, monkeypatch):
    """Run the command on a picture, or on a volume of five such slices, with a detector of these boxes."""
    root = tmp_path / "shelf" / "boxes"
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    told = {"0": "background", "1": "box"}
    metadata = {"network_data_format": {"outputs": {"pred": {"channel_def": told}}}}
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (root / "configs" / "inference.yaml").write_text("settings: {}", encoding="utf-8")
    settings = {
        "system": "boxes",
        "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
        "classes": ["box"],
        "intensity": {"mode": "percentile"},
    }

    def run(*boxes, volume=False):
        def build(sam, *, num_classes, resize):
            detector = FixedObjects([tuple(map(float, box)) for box in boxes])
            return AMSAM(sam, detector=detector, objects="all", dark_object_weight=0.95, resize=resize)

        monkeypatch.setitem(SYSTEMS, "boxes", build)
        torch.manual_seed(0)
        net = build(torch_sam(), num_classes=1, resize="pad")
        write_model(root / "models" / "model.pt", net.adapter_state_dict(), settings)
        source = tmp_path / ("v.nii.gz" if volume else "p.png")
        if volume:
            slices = np.repeat(pixels().T[..., None], 5, axis=2)
            nib.save(nib.Nifti1Image(slices, np.diag([1.0, 1.0, 3.0, 1.0])), source)
        else:
            Image.fromarray(pixels()).save(source)
        arguments = [str(source), str(tmp_path / "out"), "--bundle", str(root), "--instances"]
        result = CliRunner().invoke(app, ["segment", *arguments])
        assert result.exit_code == 0, result.output
        stem = source.name.split(".")[0]
        numbered = read_image(tmp_path / "out" / f"{stem}_instances{'.nii.gz' if volume else '.png'}").array
        with (tmp_path / "out" / f"{stem}_instances.csv").open(encoding="utf-8", newline="") as file:
            return numbered, list(csv.DictReader(file))

    return run


def torch_sam():
    from amsam_monai.networks.sam import build_sam

    return build_sam("vit_nano", image_size=64)


def overlap(mask, box):
    x1, y1, x2, y2 = box
    wanted = np.zeros((64, 64), bool)
    wanted[y1:y2, x1:x2] = True
    return (mask & wanted).sum() / (mask | wanted).sum()


def test_two_boxes_give_both_with_their_ids(segment):
    numbered, rows = segment(LEFT, RIGHT)
    assert [row["id"] for row in rows] == ["1", "2"]
    assert overlap(numbered == 1, LEFT) > 0.8
    assert overlap(numbered == 2, RIGHT) > 0.8
    assert [int(row["pixels"]) for row in rows] == [(numbered == n).sum() for n in (1, 2)]


def test_three_overlapping_boxes_of_one_object_give_one(segment):
    numbered, rows = segment(LEFT, (6, 8, 28, 50), (8, 12, 30, 58))
    assert len(rows) == numbered.max() == 1
    assert overlap(numbered == 1, LEFT) > 0.8


def test_a_box_of_no_size_is_dropped_with_a_word(segment, caplog):
    with caplog.at_level(logging.WARNING):
        numbered, rows = segment(LEFT, NOTHING)
    assert "a box of class 1 in image 0 has no area and is left out" in caplog.text
    assert len(rows) == 1
    assert overlap(numbered == 1, LEFT) > 0.8


def test_an_object_has_one_id_through_a_volume(segment):
    numbered, rows = segment(LEFT, RIGHT, volume=True)
    assert numbered.shape == (64, 64, 5)
    assert [(row["id"], row["k"], row["size_k"]) for row in rows] == [("1", "0", "5"), ("2", "0", "5")]
    ids = [int(numbered[x, 32, 2]) for x in (18, 46)]
    assert sorted(ids) == [1, 2]
    for at in range(5):
        for number, box in zip(ids, (LEFT, RIGHT), strict=True):
            assert overlap(number == numbered[..., at].T, box) > 0.8
