"""`amsam train-detector` on a few pictures and a volume, with a tiny YOLO."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip("ultralytics", reason="the detector extra is not installed")

import nibabel

from amsam_monai.cli import app
from amsam_monai.cli.train_detector import find_pairs, read_samples
from amsam_monai.networks.detector.files import load_detector
from amsam_monai.networks.sam import build_sam
from tests.networks.yolo_fixtures import write_tiny_yolo


@pytest.fixture
def pictures(tmp_path):
    """Three grey pictures with a bright square, in the ISIC naming."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for number in range(3):
        image, mask = np.full((48, 64, 3), 60, np.uint8), np.zeros((48, 64), np.uint8)
        image[10:30, 20 + number : 50] = 220
        mask[10:30, 20 + number : 50] = 255
        Image.fromarray(image).save(tmp_path / "images" / f"case{number}.png")
        Image.fromarray(mask).save(tmp_path / "labels" / f"case{number}_segmentation.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["train-detector", *map(str, arguments)])


def test_a_detector_is_fitted_written_and_measured_on_what_was_held_out(pictures):
    quick = ("--steps", 2, "--image-size", 64, "--start", write_tiny_yolo(pictures))
    out = pictures / "models" / "detector.pth"
    result = run(pictures / "images", pictures / "labels", out, "--classes", "lesion", *quick,
                 "--ids", "case0,case1", "--hold-out")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "held out: 1 objects, recall" in result.output
    assert load_detector(out).class_names == ["lesion"]
    assert load_detector(out).image_size == 64


def test_the_one_that_reads_sams_embedding_is_fitted_and_measured_by_object(pictures, monkeypatch):
    monkeypatch.setattr("amsam_monai.networks.sam.build_sam", nano)
    quick = ("--architecture", "embedding", "--steps", 2, "--image-size", 64, "--per", "component")
    out = pictures / "detector.pth"
    result = run(pictures / "images", pictures / "labels", out, *quick, "--ids", "case0,case1", "--hold-out")
    assert result.exit_code == 0, result.output
    assert "objects, large: 1, recall" in result.output
    assert load_detector(out, architecture="embedding").image_size == 64
    refused = run(pictures / "images", pictures / "labels", out, *quick, "--many")
    assert refused.exit_code == 1
    assert "--many is of yolo" in refused.output


def nano(backbone, *, weights, image_size):
    """A tiny SAM in place of MobileSAM."""
    return build_sam("vit_nano", image_size=image_size)


def test_names_that_are_not_there_are_refused(pictures):
    result = run(pictures / "images", pictures / "labels", pictures / "d.pth", "--ids", "case7")
    assert result.exit_code == 1
    assert "ids must name images" in result.output
    assert "case7" in result.output


def test_an_image_without_a_label_is_named(pictures):
    (pictures / "labels" / "case1_segmentation.png").unlink()
    with pytest.raises(ValueError, match="case1"):
        find_pairs(pictures / "images", pictures / "labels")


def test_a_missing_folder_is_one_line(pictures):
    result = run(pictures / "nowhere", pictures / "labels", pictures / "d.pth")
    assert result.exit_code == 1
    assert "no such folder" in result.output


def test_a_volume_gives_its_slices_with_their_classes(tmp_path):
    volume, label = (
        np.random.default_rng(0).normal(size=(16, 12, 4)).astype(np.float32),
        np.zeros((16, 12, 4), np.uint8),
    )
    label[2:5, 3:9, 1], label[8, 8, 3] = 1, 2
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    for name, array in (("image", volume), ("label", label)):
        nibabel.save(nibabel.Nifti1Image(array, affine), tmp_path / f"{name}.nii.gz")
    samples = list(read_samples([(tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")], 2, None))
    assert [tuple(image.shape) for image, _ in samples] == [(3, 12, 16)] * 4
    assert [sorted(set(classes.flatten().tolist())) for _, classes in samples] == [[0], [0, 1], [0], [0, 2]]
    assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image, _ in samples)
