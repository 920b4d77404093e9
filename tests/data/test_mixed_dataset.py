"""A few samples with many others mixed in."""

import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor

from amsam_monai.data.mixed_dataset import MixedDataset

REAL = Dataset(
    [{"image": MetaTensor(torch.full((3, 4, 4), float(n))), "label": torch.ones(1, 4, 4), "case_id": n} for n in (1, 2)]
)
EXTRA = Dataset([{"image": torch.zeros(3, 4, 4), "label": torch.zeros(1, 4, 4)} for _ in range(6)])


@pytest.mark.parametrize(("share", "real"), [(0.5, 6), (0.6, 4), (0.75, 2), (0.99, 2)])
def test_the_extra_samples_are_the_share_asked_for(share, real):
    images = [sample["image"] for sample in MixedDataset(REAL, EXTRA, share=share)]
    assert sum(bool(image.any()) for image in images) == real
    assert sum(not image.any() for image in images) == 6


def test_both_kinds_go_into_one_batch_of_plain_tensors_and_names():
    batch = next(iter(DataLoader(MixedDataset(REAL, EXTRA, share=0.5), batch_size=12)))
    assert sorted(batch) == ["case_id", "image", "label"]
    assert set(batch["case_id"]) == {"1", "2", ""}
    assert batch["image"].shape == (12, 3, 4, 4)
    assert type(batch["image"]) is torch.Tensor


def test_without_extra_samples_there_are_the_few_alone():
    assert len(MixedDataset(REAL, Dataset([]))) == 2


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(ValueError, match=r"share must lie between 0 and 1, got 1\.0"):
        MixedDataset(REAL, EXTRA, share=1.0)
    with pytest.raises(ValueError, match="data must have at least one sample, got none"):
        MixedDataset(Dataset([]), EXTRA)
