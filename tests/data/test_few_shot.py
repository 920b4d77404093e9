import pytest

from amsam_monai.data.few_shot import few_shot_sections
from amsam_monai.data.splits import held_out_ids, support_ids


def cases(count, per_patient=1):
    return [
        {"case_id": f"p{patient:03}_{index}", "patient_id": f"p{patient:03}"}
        for patient in range(count)
        for index in range(per_patient)
    ]


def ids(section):
    return {case["case_id"] for case in section}


def test_sections_are_disjoint_and_complete():
    sections = few_shot_sections(cases(40), shots=8, validation=4)
    assert [len(sections[name]) for name in ("train", "val", "test")] == [8, 4, 20]
    assert not ids(sections["train"]) & ids(sections["val"]) | ids(sections["train"]) & ids(sections["test"])


def test_draws_of_more_shots_contain_those_of_fewer_and_share_their_test_cases():
    few, more = (few_shot_sections(cases(40), shots=shots, draw=2, validation=3) for shots in (4, 16))
    assert ids(few["train"]) < ids(more["train"])
    assert ids(few["test"]) == ids(more["test"])


def test_a_draw_is_always_the_same_and_another_is_another():
    first, again, other = (ids(few_shot_sections(cases(40), shots=8, draw=draw)["train"]) for draw in (0, 0, 1))
    assert first == again != other


def test_the_order_of_the_datalist_does_not_matter():
    one, two = (few_shot_sections(listed, shots=4)["train"] for listed in (cases(30), cases(30)[::-1]))
    assert ids(one) == ids(two)


def test_all_cases_of_a_patient_stay_together():
    sections = few_shot_sections(cases(30, per_patient=2), shots=5)
    patients = [{case["patient_id"] for case in section} for section in sections.values()]
    assert len(sections["train"]) == 10
    assert not patients[0] & patients[2]


def test_a_smaller_pool_leaves_more_to_test():
    assert len(few_shot_sections(cases(40), shots=8, pool=8)["test"]) == 32


def test_few_patients_shrink_the_pool():
    assert len(few_shot_sections(cases(12), shots=8)["test"]) == 4


@pytest.mark.parametrize(("count", "shots", "validation"), [(8, 8, 0), (10, 0, 2), (10, 6, 4)])
def test_a_draw_that_leaves_nothing_to_test_is_refused(count, shots, validation):
    with pytest.raises(ValueError, match="shots must be at least 1 and leave cases to test"):
        few_shot_sections(cases(count), shots=shots, validation=validation)


def test_listed_draws_are_used_where_the_datalist_holds_them():
    support, held_out = support_ids("isic", shots=16, draw=1), held_out_ids("isic")
    listed = [{"case_id": name} for name in {*support, *held_out, "ISIC_other"}]
    sections = few_shot_sections(listed, shots=4, draw=1, validation=1, dataset="isic")
    assert ids(sections["train"]) == set(support[:4])
    assert ids(sections["test"]) == set(held_out)
    assert ids(sections["val"]) == {"ISIC_other"}


def test_listed_draws_are_left_alone_for_other_cases():
    assert len(few_shot_sections(cases(40), shots=8, dataset="isic")["test"]) == 24


def test_a_case_without_id_is_refused():
    with pytest.raises(ValueError, match="every case must have a 'case_id'"):
        few_shot_sections([{"image": "a.png"}], shots=1)
