import pytest

from amsam_monai.data.patients import patients_of, with_patients


def owners(datalist, patients=None):
    return [case["patient_id"] for case in with_patients(datalist, patients)]


def test_a_case_without_patient_is_its_own():
    assert owners([{"case_id": "a", "patient_id": "x"}, {"case_id": "b"}, {"case_id": "c", "patient_id": ""}]) == [
        "x",
        "b",
        "c",
    ]


def test_patients_stand_in_a_column_of_the_datalist():
    assert owners([{"case_id": "a", "subject": 7}, {"case_id": "b", "subject": 7}], "subject") == ["7", "7"]


def test_a_case_without_that_column_is_refused():
    with pytest.raises(ValueError, match="every case must have 'subject', 1 have none: b"):
        with_patients([{"case_id": "a", "subject": 7}, {"case_id": "b"}], "subject")


def test_a_pattern_reads_the_patient_off_the_name():
    assert patients_of(["12_L", "12_R", "13_L"], "(.+)_[LR]") == {"12_L": "12", "12_R": "12", "13_L": "13"}


def test_a_name_that_the_pattern_does_not_match_is_refused():
    with pytest.raises(ValueError, match=r"'\(\.\+\)_\[LR\]' does not for 1 of 2: left"):
        patients_of(["12_L", "left"], "(.+)_[LR]")


@pytest.mark.parametrize("pattern", ["subject", "(a)(b)"])
def test_a_pattern_must_have_one_group(pattern):
    with pytest.raises(ValueError, match="patients must be a key of the cases, a csv table, or a pattern with one"):
        patients_of(["a"], pattern)


def test_a_broken_pattern_is_told():
    with pytest.raises(ValueError, match="patients must be a regular expression, got '\\(a'"):
        patients_of(["a"], "(a")


def test_patients_stand_in_a_table(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("case_id,age,patient_id,eye\na,40,p1,L1\nb,41,p1,L2\n", encoding="utf-8")
    assert patients_of(["b", "a"], str(table)) == {"b": "p1", "a": "p1"}
    assert patients_of(["b", "a"], f"{table}:eye") == {"b": "L2", "a": "L1"}
    with pytest.raises(ValueError, match="does not for 1 of 1: c"):
        patients_of(["c"], str(table))
    with pytest.raises(ValueError, match="must have the columns case_id and who, lacks who"):
        patients_of(["a"], f"{table}:who")
