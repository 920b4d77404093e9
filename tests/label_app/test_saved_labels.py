"""What clients save: names of values, and label maps that fit their image or are refused."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.data.files.images import read_image
from amsam_monai.label_app.progress import TrainingProgress
from amsam_monai.label_app.saved_labels import read_saved_label, settled, value_names

AFFINE = np.diag([-1.5, 1.5, 6.0, 1.0])


@pytest.fixture
def image(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 3, 2), np.int16), AFFINE), tmp_path / "image.nii.gz")
    return read_image(tmp_path / "image.nii.gz")


def write_segments(path, array, names, origin):
    """A .seg.nrrd, (k, j, i) as SimpleITK counts."""
    written = sitk.GetImageFromArray(array)
    written.SetSpacing((1.5, 1.5, 6.0))
    written.SetOrigin(origin)
    written.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    for number, (value, name) in enumerate(names.items()):
        for key, text in {"Name": name, "LabelValue": str(value), "Layer": "0", "ID": f"s{number}"}.items():
            written.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(written, str(path))


def test_names_are_read_as_viewers_write_them():
    assert value_names({"label_info": [{"name": "liver", "idx": 1}, {"name": "spleen", "idx": 7}]}) == {
        1: "liver",
        7: "spleen",
    }
    assert value_names({"label_info": [{"name": "liver"}, {"name": "spleen"}]}) == {1: "liver", 2: "spleen"}
    assert value_names({"params": {"label_names": {"background": 0, "liver": 3}}}) == {3: "liver"}
    assert value_names({"model": "x", "params": {}}) is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ([1], "must be a JSON object"),
        ({"label_info": "liver"}, "label_info must be a list"),
        ({"label_info": [1, 2]}, "label_info must be a list"),
        ({"label_info": [{"idx": 1}]}, "label_info must be a list"),
        ({"label_info": [{"name": "liver", "idx": "one"}]}, r"values in label_info must lie in 1\.\.65535, got 'one'"),
        ({"label_info": [{"name": "liver", "idx": 1e400}]}, r"values in label_info must lie in 1\.\.65535"),
        ({"label_info": [{"name": "liver", "idx": 65536}]}, r"must lie in 1\.\.65535, got '65536'"),
        ({"label_info": [{"name": "a", "idx": 1}, {"name": "b", "idx": 1}]}, "each value and each name once, got 1"),
    ],
)
def test_names_that_are_none_are_refused(info, message):
    with pytest.raises(ValueError, match=message):
        value_names(info)


def test_slicers_count_past_a_segment_that_it_does_not_send_is_seen_through():
    said = {1: "liver", 3: "tumour", 4: "cyst"}  # "background" was the second segment
    assert settled(said, {1, 2, 3}) == {1: "liver", 2: "tumour", 3: "cyst"}
    assert settled(said, {1, 4}) == said
    assert settled(said, {1}) == said
    assert settled({1: "a", 2: "b", 4: "d"}, {1, 2, 4}) == {1: "a", 2: "b", 4: "d"}
    with pytest.raises(ValueError, match="move the segment background"):
        settled(said, {1, 3})
    with pytest.raises(ValueError, match=r"got \[9\] besides"):
        settled(said, {1, 9})
    assert settled(None, {1, 9}) is None


def test_a_label_is_taken_where_its_image_lies_and_nowhere_else(image, tmp_path):
    label = np.zeros((4, 3, 2), np.uint8)
    label[1, 2, 1] = 2
    nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / "label.nii.gz")
    read, names = read_saved_label(tmp_path / "label.nii.gz", image, {2: "spleen"})
    np.testing.assert_array_equal(read, label)
    assert names == {2: "spleen"}
    moved = AFFINE.copy()
    moved[2, 3] = 6
    nib.save(nib.Nifti1Image(label, moved), tmp_path / "moved.nii.gz")
    with pytest.raises(ValueError, match=r"label must lie where its image lies.*differs by 6"):
        read_saved_label(tmp_path / "moved.nii.gz", image)
    nib.save(nib.Nifti1Image(label[:3], AFFINE), tmp_path / "small.nii.gz")
    with pytest.raises(ValueError, match=r"label must have the image's shape \(4, 3, 2\)"):
        read_saved_label(tmp_path / "small.nii.gz", image)


@pytest.mark.parametrize("name", ["label.nii.gz", "label.seg.nrrd"])
def test_values_of_16_bits_are_for_bundles_that_have_them(name, image, tmp_path):
    label = np.zeros((4, 3, 2), np.uint16)
    label[1, 2, 1] = 300
    if name.endswith(".nii.gz"):
        nib.save(nib.Nifti1Image(label, AFFINE), tmp_path / name)
    else:
        write_segments(tmp_path / name, label.T, {300: "spleen"}, origin=(0.0, 0.0, 0.0))
    with pytest.raises(
        ValueError, match=r"must lie in 0\.\.255, got 0\.\.300; higher ones need a bundle with such values"
    ):
        read_saved_label(tmp_path / name, image, {300: "spleen"})
    read, names = read_saved_label(tmp_path / name, image, {300: "spleen"}, highest=65535)
    np.testing.assert_array_equal(read, label)
    assert names == {300: "spleen"}


def test_ohifs_bytes_are_columns_first(image, tmp_path):
    volume = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)  # slices, rows, columns, as cornerstone holds them
    (tmp_path / "label.bin").write_bytes(volume.tobytes())
    label, _ = read_saved_label(tmp_path / "label.bin", image)
    assert label[3, 2, 1] == volume[1, 2, 3]
    (tmp_path / "label.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match="one byte for each"):
        read_saved_label(tmp_path / "label.bin", image)


def test_a_trainings_progress_is_told_while_it_runs_and_after_it_ended(tmp_path):
    progress, reader = (
        TrainingProgress(tmp_path / "models" / "t.json"),
        TrainingProgress(tmp_path / "models" / "t.json"),
    )
    assert reader.read() == {}
    progress.begin(20, 0.5)
    progress.epoch(3, 20, 0.25)
    pytest.importorskip("psutil")
    told = reader.read()
    assert {name: told[name] for name in ("epoch", "total_epochs", "train", "best_metric")} == {
        "epoch": 3,
        "total_epochs": 20,
        "train": {"metrics": {"loss": 0.25}},
        "best_metric": 0.5,
    }
    assert "total_time" not in told
    progress.epoch(4, 20, 0.2, score=0.8)
    progress.end(0.7, cases=2)
    told = reader.read()
    assert (told["best_metric"], told["cases"]) == (0.8, 2)
    assert told["eval"] == {
        "metrics": {"dice": 0.7},
        "key_metric_name": "dice",
        "best_metric": 0.8,
        "best_metric_epoch": 4,
    }
    assert "total_time" in told


def began(path, **facts):
    """What a server reads of a training that this process has begun; `facts` are told in the place of its own."""
    progress = TrainingProgress(path)
    progress.begin(20)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | facts), encoding="utf-8")
    return progress.read()


def test_a_training_whose_process_is_gone_counts_as_over(tmp_path):
    psutil = pytest.importorskip("psutil")
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as child:
        child.stdout.read()
        path, facts = tmp_path / "t.json", {"process": child.pid}
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        since = round(psutil.Process(child.pid).create_time() - psutil.boot_time(), 2)
        assert began(path, **facts, process_began=since)["total_time"] == "stopped"  # ended, and nobody took notice
    assert began(path, **facts)["total_time"] == "stopped"
    assert "total_time" not in began(path)


@pytest.mark.parametrize("facts", [{"process_began": 1.0}, {"process_began": None}, {"process": 0}, {"process": None}])
def test_a_process_that_has_the_number_of_a_training_that_is_gone_is_not_that_training(tmp_path, facts):
    pytest.importorskip("psutil")
    assert began(tmp_path / "t.json", **facts)["total_time"] == "stopped"


def test_a_training_goes_on_where_the_clock_is_set(tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    progress, start = TrainingProgress(tmp_path / "t.json"), psutil.boot_time()
    progress.begin(20)
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: start - 3600)
    assert psutil.boot_time() == start - 3600
    assert "total_time" not in progress.read()


def test_slicers_segments_are_taken_by_the_names_in_their_file(image, tmp_path):
    """A .seg.nrrd is cropped, and says itself what its values are."""
    origin = (1.5, -3.0, 6.0)  # voxel (1, 2, 1) of the image, in LPS
    write_segments(tmp_path / "x.seg.nrrd", np.array([[[2, 2]]], np.uint8), {2: "spleen"}, origin)
    label, names = read_saved_label(tmp_path / "x.seg.nrrd", image, {1: "wrong"})
    assert names == {2: "spleen"}
    assert np.argwhere(label == 2).tolist() == [[1, 2, 1], [2, 2, 1]]
