"""The runtime round a graph: files, intensities, slices, mirror images, means and components are the package's."""

import subprocess
import sys

import numpy as np
import pytest

from amsam_monai.data.files.images import read_label
from amsam_monai.networks.systems.mean import Mean
from amsam_monai.runtime import ExportedModel
from amsam_monai.segment.segmenter import Segmenter
from tests.doors import write_images
from tests.runtime.small_model import LABELS, Colours, network, write_exported

CASES = {
    "plain": {},
    "by slice, along an axis": {"intensity": {"mode": "percentile", "per": "slice"}, "slices": {"axis": 0}},
    "neighbours and a flip": {"slices": {"neighbours": 1, "flips": ["horizontal"], "batch_size": 2}},
    "both flips, one piece": {"slices": {"flips": ["horizontal", "vertical"]}, "largest_component": True},
}
BLOCKED = ("torch", "monai", "torchvision", "segment_anything", "timm", "ignite", "SimpleITK", "pydicom")
RUN = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None  # what is None cannot be imported
from amsam_monai.runtime.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def without_torch(*arguments):
    """`python -m amsam_monai.runtime` in a process that can import neither torch nor MONAI."""
    return subprocess.run([sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True)


def segmenter(case, net=None):
    return Segmenter(net or Colours(), LABELS, **{"intensity": {"mode": "percentile"}, **case})


def exported(folder, case, **changes):
    usual = {"axis": "thickest", "orientation": "radiological", "batch_size": 3, "neighbours": 0, "flips": []}
    whole = [1, 2] if case.get("largest_component") else []
    return write_exported(
        folder,
        intensity=case.get("intensity", {"mode": "percentile"}),
        slices={**usual, **case.get("slices", {})},
        largest_component=whole,
        **changes,
    )


@pytest.fixture(params=["volumes", "pictures"])
def images(request, tmp_path):
    write_images(tmp_path / "images", request.param)
    return sorted(path for path in (tmp_path / "images").rglob("*.*") if path.is_file())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_masks_are_those_of_the_segmenter(case, images, tmp_path):
    ours, model = segmenter(case), ExportedModel(exported(tmp_path / "model", case), threads=1)
    seen = set()
    for path in images:
        wanted = ours(path).label
        np.testing.assert_array_equal(model.segment(path), wanted, err_msg=path.name)
        seen |= set(np.unique(wanted).tolist())
    assert seen == {0, 1, 2}  # else equality would say nothing


def test_a_mean_is_averaged(images, tmp_path):
    other = {**network(), "size": 64, "resize": "stretch"}
    model = ExportedModel(exported(tmp_path / "model", {}, networks=[network(), network()]), threads=1)
    net = Mean([Colours(), Colours()])
    for path in images:
        np.testing.assert_array_equal(model.segment(path), segmenter({}, net)(path).label, err_msg=path.name)
    stretched = ExportedModel(exported(tmp_path / "other", {}, networks=[network(), other]), threads=1)
    assert any((stretched.segment(path) != model.segment(path)).any() for path in images)


def test_a_folder_goes_into_a_folder_without_torch(images, tmp_path):
    folder = exported(tmp_path / "model", {})
    (tmp_path / "images" / "cut.nii.gz").write_bytes(b"\x1f\x8b cut")
    done = without_torch(folder, tmp_path / "images", tmp_path / "masks", "--threads", 1)
    assert done.returncode == 1
    assert done.stderr.count("failed: ") == 1
    assert "cut.nii.gz" in done.stderr
    model = ExportedModel(folder, threads=1)
    masks = [path for path in (tmp_path / "masks").rglob("*.*") if path.is_file()]
    assert len(masks) == len(images)
    for path in images:
        found = [mask for mask in masks if f"{path} -> {mask}" in done.stdout]
        assert len(found) == 1
        written = read_label(found[0])
        np.testing.assert_array_equal(written.array, model.classes.written(model.segment(path)))


def test_a_folder_without_settings_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"settings\.json: no such file; give a folder that"):
        ExportedModel(tmp_path)


def test_another_runtimes_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be of amsam_monai.export/1 for onnx, got .* for openvino"):
        ExportedModel(exported(tmp_path / "model", {}, runtime="openvino"))
