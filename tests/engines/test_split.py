import logging

import pytest
from monai.data import Dataset

from amsam_monai.engines import split_by_patient, subsets_by_patient


def cases(*patients):
    return [{"case_id": f"{patient}_{index}", "patient_id": patient} for index, patient in enumerate(patients)]


def test_no_patient_is_in_both_halves():
    data = cases(*"aabbccddeeffg")
    for seed in range(10):
        first, second = split_by_patient(data, seed=seed)
        assert not {case["patient_id"] for case in first} & {case["patient_id"] for case in second}
        assert sorted(case["case_id"] for case in first + second) == sorted(case["case_id"] for case in data)
        assert abs(len(first) - 6) <= 1


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(4, 0.5, 2), (5, 0.5, 2), (8, 0.75, 6), (2, 0.9, 1), (3, 0.1, 1)]
)
def test_the_fraction_is_that_of_d1_and_neither_half_is_empty(count, fraction, expected):
    first, second = split_by_patient(cases(*map(str, range(count))), fraction)
    assert (len(first), len(second)) == (expected, count - expected)


def test_a_seed_is_a_split():
    data = cases(*map(str, range(12)))
    assert split_by_patient(data, seed=3) == split_by_patient(data, seed=3)
    assert split_by_patient(data, seed=3) != split_by_patient(data, seed=4)


def test_a_case_without_a_patient_is_its_own():
    first, second = split_by_patient([{"case_id": "a"}, {"case_id": "b"}])
    assert {first[0]["case_id"], second[0]["case_id"]} == {"a", "b"}


def test_the_log_counts_both_halves_and_names_cases_only_to_who_looks_for_faults(caplog):
    with caplog.at_level(logging.INFO):
        split_by_patient(cases("a", "b"), seed=0)
    assert "D1 (lower level): 1 cases" in caplog.text
    assert "D2 (upper level): 1 cases" in caplog.text
    assert "a_0" not in caplog.text
    with caplog.at_level(logging.DEBUG):
        split_by_patient(cases("a", "b"), seed=0)
    assert "a_0" in caplog.text
    assert "b_1" in caplog.text


def test_refusals_say_what_is_wrong():
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1"):
        split_by_patient(cases("a", "b"), 1.0)
    with pytest.raises(ValueError, match="at least two patients"):
        split_by_patient(cases("a", "a"))
    with pytest.raises(ValueError, match="must have 'patient_id' or 'case_id'"):
        split_by_patient([{"image": "a.png"}, {"image": "b.png"}])


def test_the_halves_of_a_data_set_are_those_of_its_cases(caplog):
    data = cases(*"aabbccd")
    with caplog.at_level(logging.DEBUG):
        first, second = subsets_by_patient(Dataset(data), seed=3)
    assert ([*first], [*second]) == split_by_patient(data, seed=3)
    assert all(case["case_id"] in caplog.text for case in data)
