import pytest
import torch

pytest.importorskip("ultralytics")

from amsam_monai.engines.fit_detector import load_or_fit_detector, with_detector
from amsam_monai.networks.detector.files import load_detector
from tests.engines import nano
from tests.networks.yolo_fixtures import write_tiny_yolo

FIT = {"class_names": ["disc"], "steps": 1, "image_size": 64, "batch_size": 2}


def fit(folder, cases, **kwargs):
    return load_or_fit_detector(
        folder / "detector.pth", nano.samples(2), cases=cases, start=folder / "yolo26.pt", **{**FIT, **kwargs}
    )


def test_a_detector_is_fitted_once_and_anew_for_other_cases(tmp_path, caplog):
    write_tiny_yolo(tmp_path)
    assert fit(tmp_path, ["b", "a"]).cases == ["a", "b"]
    written = (tmp_path / "detector.pth").stat().st_mtime_ns
    assert fit(tmp_path, ["a", "b"]).cases == ["a", "b"]
    assert fit(tmp_path, None).cases == ["a", "b"]
    assert (tmp_path / "detector.pth").stat().st_mtime_ns == written
    assert fit(tmp_path, ["a", "c"]).cases == ["a", "c"]
    assert "fitted on other cases" in caplog.text


def test_a_wish_for_contrast_is_written_to_a_detector_that_is_there(tmp_path):
    write_tiny_yolo(tmp_path)
    assert not fit(tmp_path, ["a"]).snap_to_dark_object
    assert fit(tmp_path, ["a"], snap_to_dark_object=True).snap_to_dark_object
    assert load_detector(tmp_path / "detector.pth").snap_to_dark_object
    assert fit(tmp_path, ["a"]).snap_to_dark_object


def test_a_wish_for_another_floor_is_written_too(tmp_path):
    write_tiny_yolo(tmp_path)
    assert fit(tmp_path, ["a"]).confidence == 0.05
    assert fit(tmp_path, ["a"], confidence=0.35).confidence == 0.35
    found = load_detector(tmp_path / "detector.pth")
    assert (found.confidence, found.snap_to_dark_object) == (0.35, False)


def test_options_of_the_settings_count_and_leave_the_file_alone(tmp_path):
    write_tiny_yolo(tmp_path)
    network = with_detector(nano.network(), fit(tmp_path, ["a"]), options={"file": "d.pth", "object_confidence": 0.6})
    assert network.detector.object_confidence == 0.6
    assert network.detector.file == tmp_path / "detector.pth"
    assert load_detector(tmp_path / "detector.pth").object_confidence == 0.25


def test_random_numbers_do_not_depend_on_whether_the_file_was_there(tmp_path):
    write_tiny_yolo(tmp_path)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        fit(tmp_path, ["a"])
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)
