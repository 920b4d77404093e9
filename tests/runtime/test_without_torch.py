"""An exported bundle gives the masks of `amsam segment` in a process that cannot import torch."""

import numpy as np
import pytest

import amsam_monai
from amsam_monai.data.files.images import read_label
from tests.doors import CASES, masks_of, write_case
from tests.runtime.test_exported import without_torch

pytestmark = pytest.mark.slow  # PyTorch takes many seconds to record a graph
NOISE = 0.02  # so little that two libraries agree


@pytest.mark.parametrize("system", list(CASES))
def test_masks_are_those_of_the_command_line(system, tmp_path):
    root = write_case(system, tmp_path, NOISE)
    amsam_monai.export(root, tmp_path / "model")
    done = without_torch(tmp_path / "model", root.parent / "images", tmp_path / "masks", "--threads", 1)
    assert done.returncode == 0, done.stderr
    expected = {path.relative_to(root.parent / "cli"): path for path in (root.parent / "cli").rglob("*.*g*")}
    masks = {name: path for name, path in expected.items() if path.name.endswith((".nii.gz", ".png"))}
    assert len(masks) == len(masks_of(root))
    for name, path in masks.items():
        wanted, found = read_label(path), read_label(tmp_path / "masks" / name)
        assert found.array.shape == wanted.array.shape
        assert (found.array != wanted.array).mean() < 1e-3, name  # a voxel on an edge goes by the last bit
        if wanted.affine is not None:
            np.testing.assert_array_equal(found.affine, wanted.affine)


def test_one_file_goes_into_one_file_and_a_damaged_one_is_told(tmp_path):
    root = write_case("amsam", tmp_path, NOISE)
    amsam_monai.export(root, tmp_path / "model")
    done = without_torch(tmp_path / "model", root.parent / "images" / "a.nii.gz", tmp_path / "mask.nii.gz")
    assert done.returncode == 0, done.stderr
    wanted = read_label(root.parent / "cli" / "a.nii.gz")
    np.testing.assert_array_equal(read_label(tmp_path / "mask.nii.gz").array, wanted.array)
    (tmp_path / "cut.nii.gz").write_bytes((root.parent / "images" / "a.nii.gz").read_bytes()[:200])
    done = without_torch(tmp_path / "model", tmp_path / "cut.nii.gz", tmp_path / "other.nii.gz")
    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert not (tmp_path / "other.nii.gz").exists()
