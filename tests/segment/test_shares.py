"""Probabilities come batch by batch, into memory or a temporary file, in the order in which NIfTI stores them."""

import tempfile

import nibabel as nib
import numpy as np
import pytest
import torch

from amsam_monai.segment import shares
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.segment.shares import room_for_shares
from amsam_monai.segment.slice_inferer import SliceInferer
from tests.segment.toy import LABELS, Toy, phantom, stored_as


@pytest.mark.parametrize("letters", ["RAS", "LSP", "SAL"])
def test_what_is_stored_is_the_softmax_and_what_is_given_the_labels(letters, tmp_path):
    image = stored_as(phantom(), letters)
    volume = torch.from_numpy(image.get_fdata(dtype=np.float32) / 255)[None, None]
    found = []

    def store(shape):
        found.append(torch.full(shape, torch.nan))
        return found[0]

    labels = SliceInferer(output="labels", batch_size=4)(volume, Toy(), affine=image.affine, store=store)
    wanted = SliceInferer(output="probabilities", batch_size=4)(volume, Toy(), affine=image.affine)
    torch.testing.assert_close(found[0], wanted[0], atol=0, rtol=0)
    torch.testing.assert_close(labels[0, 0], wanted[0].argmax(0).to(torch.uint8), atol=0, rtol=0)


def test_large_ones_lie_in_a_file_that_leaves_nothing(tmp_path, monkeypatch):
    image = tmp_path / "a.nii.gz"
    nib.save(phantom((12, 10, 6)), image)
    segmenter = Segmenter(Toy(), LABELS, intensity={"mode": "min_max"})
    small = segmenter(image, probabilities=True).probabilities
    monkeypatch.setattr(shares, "IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = segmenter(image, probabilities=True)
    assert isinstance(large.probabilities, np.memmap)
    assert list(tmp_path.iterdir()) == [image]
    np.testing.assert_array_equal(large.probabilities, small)
    large.save_probabilities(tmp_path / "p.nii.gz")
    np.testing.assert_array_equal(np.moveaxis(nib.load(tmp_path / "p.nii.gz").get_fdata(), -1, 0), small)


@pytest.mark.parametrize("limit", [0, 10**9])
def test_the_first_axis_after_the_channel_is_the_fastest(limit, monkeypatch):
    monkeypatch.setattr(shares, "IN_MEMORY", limit)
    room = room_for_shares((2, 3, 4, 5))
    assert room.shape == (2, 3, 4, 5)
    assert [step // 4 for step in room.strides] == [60, 1, 3, 12]
    assert not room.any()


def test_a_full_disk_is_told(monkeypatch):
    def full(file, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shares, "IN_MEMORY", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device; make room.*probabilities"):
        room_for_shares((2, 3, 4))
