"""Pictures in memory, the large ones made smaller."""

import pytest
import torch

from amsam_monai.data.picture_samples import picture_samples


def load(case):
    image = torch.zeros(3, 40, 20)
    image[:, :20] = 1
    return {"image": image, "label": (image[:1] > 0.5).long()}


def test_large_pictures_become_smaller_and_small_ones_stay():
    (small,) = picture_samples([{"case_id": "a"}], load, longest=20, progress=False)
    assert small["image"].shape == (3, 20, 10)
    assert small["label"].tolist() == [[[1] * 10] * 10 + [[0] * 10] * 10]
    assert small["image"].dtype == torch.float16
    (same,) = picture_samples([{"case_id": "a", "patient_id": "p"}], load, longest=80, progress=False)
    assert same["image"].shape == (3, 40, 20)
    assert same["patient_id"] == "p"


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        picture_samples([], load)
