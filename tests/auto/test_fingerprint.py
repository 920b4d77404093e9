"""What cases are like, by answers known by hand."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.auto.fingerprint import fingerprint


def picture(image, label, patient="a"):
    return {
        "image": MetaTensor(torch.as_tensor(image), meta={}),
        "label": torch.as_tensor(label)[None],
        "case_id": patient,
        "patient_id": patient,
    }


def strip(width):
    """A strip across a grey picture of 100 x 80 pixels."""
    label = np.zeros((100, 80), np.uint8)
    label[40 : 40 + width] = 1
    return np.full((3, 100, 80), 7.0, np.float32) + 10 * label, label


def test_a_strip_is_as_thick_as_it_is():
    seen = fingerprint([picture(*strip(8))], ["band"], volumes=False)
    facts = seen.classes["band"]
    assert (seen.kind, seen.longest, seen.depth, seen.colour) == ("picture", 100, 1, False)
    assert facts.share == pytest.approx(0.08)
    assert facts.thickness == pytest.approx(0.08, abs=0.02)
    assert (facts.cases, facts.objects, facts.slices) == (1, 1.0, 1.0)
    assert seen.values == (7.0, 17.0)
    assert seen.labelled == (17.0, 17.0)


def test_parts_are_counted_and_absent_classes_told():
    image, label = strip(4)
    label[80:84] = 1
    seen = fingerprint([picture(image, label), picture(*strip(4), patient="b")], ["band", "none"], volumes=False)
    assert seen.classes["band"].objects == 1.5
    assert seen.classes["none"].cases == 0
    assert seen.patients == 2


def test_a_picture_with_three_different_channels_has_colour():
    image, label = strip(8)
    image[1] += 1
    assert fingerprint([picture(image, label)], ["band"], volumes=False).colour


def test_volumes_are_seen_along_their_thickest_axis():
    label = np.zeros((20, 30, 6), np.uint8)
    label[5:10, 5:10, 1:4] = 1
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    image = MetaTensor(torch.zeros(1, 20, 30, 6), affine=torch.as_tensor(affine), meta={"spacing_mm": (1, 1, 3)})
    case = {"image": image, "label": torch.as_tensor(label)[None], "case_id": "a", "patient_id": "a"}
    seen = fingerprint([case], ["cube"], volumes=True)
    assert (seen.longest, seen.depth, seen.spacing_mm) == (30, 6, (3.0, 1.0, 1.0))
    assert seen.classes["cube"].slices == 0.5
    assert seen.classes["cube"].share == pytest.approx(25 / 600, abs=1e-6)
    assert seen.plane == "axial"
    unknown = {**case, "image": MetaTensor(torch.zeros(1, 20, 30, 6), affine=torch.eye(4), meta={})}
    lying = MetaTensor(
        torch.zeros(1, 20, 30, 6), affine=torch.diag(torch.tensor([1.0, 3, 1, 1])), meta={"spacing_mm": (1, 3, 1)}
    )
    assert fingerprint([case, unknown], ["cube"], volumes=True).plane == "axial"
    assert fingerprint([case, {**case, "image": lying}], ["cube"], volumes=True).plane == ""


def test_labels_without_a_class_are_refused():
    image, label = strip(8)
    with pytest.raises(ValueError, match="labels must hold at least one of band, got none in 1 cases"):
        fingerprint([picture(image, label * 0)], ["band"], volumes=False)


def test_no_case_is_refused():
    with pytest.raises(ValueError, match="labelled cases to look at"):
        fingerprint([], ["band"], volumes=False)


def test_pictures_among_volumes_are_refused():
    with pytest.raises(ValueError, match="all be volumes, got a picture in b"):
        fingerprint([picture(*strip(8), patient="b")], ["band"], volumes=True)
