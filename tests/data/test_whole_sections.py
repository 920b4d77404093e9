"""Training part, watching part and scored part of a data set."""

import pytest

from amsam_monai.data.splits import split_sections
from amsam_monai.data.whole_sections import whole_sections


def cases(patients, volumes=2):
    return [
        {"case_id": f"{patient}_frame{n}", "patient_id": patient, "image": "x"}
        for patient in patients
        for n in range(volumes)
    ]


def test_the_listed_split_is_followed_and_nothing_overlaps():
    listed = split_sections("acdc")
    everybody = [patient for ids in listed.values() for patient in ids]
    parts = whole_sections(cases(everybody), dataset="acdc", validation=5)
    found = {name: {case["patient_id"] for case in part} for name, part in parts.items()}
    assert found["test"] == set(listed["validation"])
    assert found["train"] | found["val"] == set(listed["training"])
    assert len(found["val"]) == 5
    assert not found["train"] & found["val"]


def test_without_a_split_patients_are_drawn_whole():
    parts = whole_sections(cases("abcdef"), dataset=None, validation=1, test=2, seed=3)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [6, 2, 4]
    assert len({case["patient_id"] for part in parts.values() for case in part}) == 6


def test_pictures_without_patients_are_their_own():
    parts = whole_sections([{"case_id": str(n)} for n in range(5)], dataset=None, test=2)
    assert len(parts["test"]) == 2


def test_an_id_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="datalist must hold every patient_id of the split, lacks"):
        whole_sections(cases("ab"), dataset="acdc")


def test_somebody_must_be_left_to_train():
    with pytest.raises(ValueError, match="validation must leave some of 2 training patients to train, got 2"):
        whole_sections(cases("abc"), dataset=None, validation=2)


def test_a_case_without_id_is_refused():
    with pytest.raises(ValueError, match="every case must have a 'case_id', 1 have none"):
        whole_sections([{"image": "x"}], dataset=None)
