"""Limits of what is usual: measured on labelled cases, told where a result is beyond them."""

import logging
from pathlib import Path

import numpy as np
import pytest

from amsam_monai.data.datasets.reading import read_case
from amsam_monai.data.files.loaded_image import LoadedImage
from amsam_monai.segment.limits import LEAST_GAP, check_limits, measure_limits
from amsam_monai.segment.parts import parts_of, widest_gap
from amsam_monai.segment.segmenter import SegmentedImage, Segmenter
from amsam_monai.segment.slice_inferer import SliceInferer
from amsam_monai.session.session import InteractiveSession
from amsam_monai.transforms.intensity import Intensity
from tests.segment.toy_net import BrightRegions

LABELS = {1: "liver", 2: "spleen"}
AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])
NONE = Intensity("none")


def volume(array, affine=AFFINE):
    return LoadedImage(array.astype(np.float32), "volume", Path("v.nii"), "nifti", affine=affine)


def case(liver=slice(2, 6), shape=(20, 10, 5), brightness=0.5):
    """A liver of 4 x 4 voxels in three slices of five, a spleen of 2 x 2 in one."""
    label = np.zeros(shape, np.uint8)
    label[liver, 2:6, 1:4] = 1
    label[12:14, 2:4, 2] = 2
    rng = np.random.default_rng(0)
    return volume(brightness * rng.random(shape)), label


def result(image, label):
    view = SliceInferer().view(image.array.shape, image.affine) if image.kind == "volume" else None
    return SegmentedImage(image, label, LABELS, view=view)


@pytest.fixture(scope="module")
def limits():
    return measure_limits(iter([case(), case()]), LABELS, intensity=NONE)


def test_limits_lie_beyond_what_was_measured(limits):
    assert limits["cases"] == 2
    liver, spleen = limits["classes"]["liver"], limits["classes"]["spleen"]
    assert liver["slice_share"] == pytest.approx(6.5 * 16 / 200)
    assert liver["volume_share"] == pytest.approx([48 / 1000 / 10, 6.5 * 48 / 1000])
    assert spleen == {
        "slice_share": pytest.approx(6.5 * 4 / 200),
        "volume_share": pytest.approx([4 / 1000 / 10, 6.5 * 4 / 1000]),
        "parts": 4,
        "gap": LEAST_GAP,
    }
    assert np.array(limits["intensity"]["low"]).shape == (1, 5)


def test_the_more_cases_the_narrower(limits):
    many = measure_limits([case()] * 20, LABELS, intensity=NONE)["classes"]["liver"]
    assert many["slice_share"] == pytest.approx(2 * 16 / 200)
    assert many["volume_share"][0] > limits["classes"]["liver"]["volume_share"][0]


def test_a_training_case_has_no_warnings(limits):
    assert check_limits(result(*case()), limits, NONE) == []


def test_a_full_slice_is_told_by_the_number_that_a_session_gives_it(limits):
    image, label = case()
    label[..., 4] = 1
    for affine, number in ((AFFINE, 4), (np.diag([1.0, 1.0, -4.0, 1.0]), 4)):
        image.affine = affine
        assert check_limits(result(image, label), limits, NONE)[0] == (
            f"liver covers 100 % of slice {number}, usual are 52 % or less"
        )


def test_too_much_and_too_little_of_a_volume_are_told(limits):
    image, label = case()
    label[:, :8] = 2
    assert "spleen covers 80 % of the volume, usual are 2.6 % or less" in check_limits(result(image, label), limits)
    few = np.zeros_like(label)
    few[3, 3, 2] = 1
    told = check_limits(result(image, few), limits)
    assert told == ["liver covers only 0.1 % of the volume, usual are 0.48 % or more"]
    assert check_limits(result(image, few), limits, complete=False) == []


def test_parts_far_from_each_other_are_told(limits):
    image, label = case()
    label[18:20, 8:10, 2:4] = 1
    told = check_limits(result(image, label), limits)
    assert told == ["liver has parts 60.8 % of the image apart, usual are 10 % or less"]  # 12 and 2 of 20 voxels
    label[...] = 0
    label[::2, ::3, 2] = 2  # 40 specks
    told = check_limits(result(image, label), limits)
    assert "spleen has 40 parts, usual are 4 or fewer" in told


def test_specks_are_no_parts_and_corners_join():
    mask = np.zeros((1, 12, 12), bool)
    mask[0, :5, :5] = mask[0, 5:8, 5:8] = True
    mask[0, 11, 11] = True
    boxes = parts_of(mask)
    assert boxes == [(slice(0, 1), slice(0, 8), slice(0, 8))]
    assert parts_of(np.zeros((2, 3), bool)) == []
    assert widest_gap(boxes, (1, 12, 12)) == 0


def test_a_row_of_parts_is_as_wide_as_its_widest_step():
    mask = np.zeros((1, 10, 20), bool)
    for column in (0, 4, 8, 16):
        mask[0, 3:5, column : column + 2] = True
    assert widest_gap(parts_of(mask), (1, 20, 20)) == pytest.approx(6 / 20)


def test_a_darker_or_brighter_image_is_told(limits):
    image, label = case(brightness=1.0)
    (told,) = check_limits(result(image, label), limits, NONE)
    assert told.startswith(
        "the image is unlike those of the training: between black (0) and white (1) its 95% quantile is 0.9"
    )
    assert check_limits(result(image, label), {**limits, "intensity": None}, NONE) == []


def test_each_slice_may_have_a_scale_of_its_own():
    scale = Intensity("min_max", per="slice")
    image, label = case()
    limits = measure_limits([(image, label)], LABELS, intensity=scale)
    brighter = volume(image.array * np.arange(1, 6))  # each slice by another factor: the same to the network
    assert check_limits(result(brighter, label), limits, scale) == []
    skewed = volume(image.array**8)
    assert "unlike" in check_limits(result(skewed, label), limits, scale)[0]


def test_pictures_have_colours_and_no_slices():
    rng = np.random.default_rng(0)
    pixels = (rng.random((30, 40, 3)) * [255, 200, 40]).astype(np.uint8)
    label = np.zeros((30, 40), np.uint8)
    label[5:10, 5:10] = 1
    picture = LoadedImage(pixels, "image", Path("p.png"), "picture")
    scale = Intensity("bit_depth")
    limits = measure_limits([(picture, label)] * 8, LABELS, intensity=scale)
    assert check_limits(result(picture, label), limits, scale) == []
    blue = LoadedImage(np.ascontiguousarray(pixels[..., ::-1]), "image", Path("p.png"), "picture")
    assert "quantile of blue is 0.95" in check_limits(result(blue, label), limits, scale)[0]
    label[...] = 1
    assert check_limits(result(picture, label), limits) == [
        "liver covers 100 % of the picture, usual are 5.73 % or less"
    ]


def test_what_is_not_measured_is_not_checked(limits):
    image, label = case()
    label[...] = 2
    assert check_limits(result(image, label), {}, NONE) == []
    assert check_limits(result(image, label), {"classes": {"liver": limits["classes"]["liver"]}}) == []


def test_bad_cases_are_refused():
    with pytest.raises(ValueError, match="at least one labelled case"):
        measure_limits([], LABELS)
    image, label = case()
    with pytest.raises(ValueError, match=r"label must have the shape \(20, 10, 5\), got \(20, 10\)"):
        measure_limits([(image, label[..., 0])], LABELS)


def test_a_segmenter_and_a_session_warn(caplog):
    array = np.random.default_rng(0).random((20, 10, 5)).astype(np.float32) * 0.4
    array[2:6, 2:6, 1:4] = 1
    label = (array == 1).astype(np.uint8)
    net = BrightRegions(2)
    net.forward = lambda image: net.segment(image, None, net.encode(image)).logits
    limits = measure_limits([(volume(array), label)] * 8, LABELS, intensity=NONE)
    whole = array.copy()
    whole[..., 4] = np.random.default_rng(0).random((20, 10)) * 0.1 + 0.9
    session = InteractiveSession(net, LABELS, intensity=NONE, limits=limits)
    segmenter = Segmenter(net, LABELS, intensity=NONE, limits=limits, slices={"batch_size": 1})
    assert segmenter(volume(array)).warnings == []
    with caplog.at_level(logging.DEBUG):  # a file's name may be a patient's
        told = segmenter(volume(whole)).warnings
    assert "liver covers 100 % of slice 4, usual are 22 % or less" in told
    assert all(one in caplog.text for one in told)
    session.open(whole, affine=AFFINE)
    assert session.warnings == told[:1]  # of the image; nothing is segmented yet
    session.segment(4)
    assert "liver covers 100 % of slice 4, usual are 22 % or less" in session.warnings
    session.segment("all")
    assert session.warnings == told
    assert InteractiveSession(net, LABELS, intensity=NONE).limits is None


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("data", "count"), [("acdc", 5), ("hippocampus", 8)])
def test_true_masks_of_other_patients_seldom_warn(real_data, data, count):
    cases = {"acdc": acdc_cases, "hippocampus": hippocampus_cases}[data](real_data / data)
    patients = sorted(cases)
    scale = Intensity("bit_depth" if data == "acdc" else "percentile")
    told = total = 0
    for start in range(3):
        train = patients[start::8][:count]
        limits = measure_limits(read(cases, train), LABELS_OF[data], intensity=scale)
        for image, label in read(cases, [one for one in patients if one not in train][start::4]):
            found = SegmentedImage(image, label, LABELS_OF[data], view=SliceInferer().view(label.shape, image.affine))
            told, total = told + bool(check_limits(found, limits, scale)), total + 1
    assert told <= 0.05 * total, (told, total)


LABELS_OF = {
    "acdc": {1: "right ventricle", 2: "myocardium", 3: "left ventricle"},
    "hippocampus": {1: "front", 2: "back"},
}


def acdc_cases(root):
    """Images and labels by patient."""
    found = {}
    for path in sorted(root.glob("training/*/*_gt.nii.gz")):
        found.setdefault(path.parent.name, []).append((str(path).replace("_gt", ""), path))
    return found


def hippocampus_cases(root):
    return {path.name: [(root / "imagesTr" / path.name, path)] for path in sorted(root.glob("labelsTr/h*.nii.gz"))}


def read(cases, patients):
    for patient in patients:
        for image, label in cases[patient]:
            found = read_case(image, label)
            yield found.image, found.label.array
