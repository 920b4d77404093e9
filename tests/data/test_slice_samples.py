import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.data.slice_samples import slice_samples


def load(case):
    image = torch.zeros(1, 4, 5, 3)
    image[0, 1, 2] = torch.tensor([0.0, 0.5, 1.0])
    label = (image > 0.75).long() * 2
    return {"image": MetaTensor(image, meta={}), "label": MetaTensor(label, meta={})}


CASES = [{"case_id": "a", "patient_id": "p"}, {"case_id": "b"}]


def test_every_slice_becomes_a_sample_with_its_label():
    samples = slice_samples(CASES, load, progress=False)
    assert [sample["case_id"] for sample in samples] == [f"{case}_slice00{k}" for case in "ab" for k in range(3)]
    assert [sample["patient_id"] for sample in samples[::3]] == ["p", "b"]
    assert [float(sample["image"].max()) for sample in samples[:3]] == [0.0, 0.5, 1.0]
    assert samples[2]["label"].nonzero().tolist() == [[0, 1, 2]]
    assert samples[2]["label"].max() == 2


def test_slices_without_foreground_may_be_left_out():
    assert [sample["slice"] for sample in slice_samples(CASES, load, keep_empty=False, progress=False)] == [2, 2]


def test_every_second_slice():
    assert [sample["slice"] for sample in slice_samples(CASES[:1], load, every=2, progress=False)] == [0, 2]


def test_a_step_below_one_is_refused():
    with pytest.raises(ValueError, match="every must be at least 1 and neighbours at least 0, got 0 and 0"):
        slice_samples(CASES, load, every=0)


def test_volumes_without_any_foreground_are_refused_where_empty_slices_are_left_out():
    def empty(case):
        loaded = load(case)
        loaded["label"] *= 0
        return loaded

    with pytest.raises(ValueError, match="no slice is left of 2 volumes"):
        slice_samples(CASES, empty, keep_empty=False, progress=False)


def test_neighbours_are_channels_and_repeat_at_the_ends():
    samples = slice_samples(CASES[:1], load, neighbours=1, progress=False)
    peaks = [[float(channel.max()) for channel in sample["image"]] for sample in samples]
    assert peaks == [[0.0, 0.0, 0.5], [0.0, 0.5, 1.0], [0.5, 1.0, 1.0]]
    assert samples[0]["label"].shape == (1, 4, 5)
