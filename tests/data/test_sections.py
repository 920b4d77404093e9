import pytest

from amsam_monai.data.sections import sections, to_score
from amsam_monai.data.splits import held_out_ids, split_sections, support_ids


def cases(count, per_patient=1):
    return [
        {"case_id": f"p{patient:03}_{index}", "patient_id": f"p{patient:03}"}
        for patient in range(count)
        for index in range(per_patient)
    ]


def shown(parts):
    return {part: " ".join(case["case_id"] for case in of_part) for part, of_part in parts.items()}


def ids(section):
    return {case["case_id"] for case in section}


def test_sections_are_disjoint_and_complete():
    parts = sections(cases(40), shots=8, validation=4)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [8, 4, 20]
    assert not ids(parts["train"]) & ids(parts["val"]) | ids(parts["train"]) & ids(parts["test"])


def test_draws_of_more_shots_contain_those_of_fewer_and_share_their_test_cases():
    few, more = (sections(cases(40), shots=shots, draw=2, validation=3) for shots in (4, 16))
    assert ids(few["train"]) < ids(more["train"])
    assert ids(few["test"]) == ids(more["test"])


def test_a_draw_is_always_the_same_and_another_is_another():
    first, again, other = (ids(sections(cases(40), shots=8, draw=draw)["train"]) for draw in (0, 0, 1))
    assert first == again != other


def test_the_order_of_the_datalist_does_not_matter():
    one, two = (sections(listed, shots=4)["train"] for listed in (cases(30), cases(30)[::-1]))
    assert ids(one) == ids(two)


def test_all_cases_of_a_patient_stay_together():
    parts = sections(cases(30, per_patient=2), shots=5)
    patients = [{case["patient_id"] for case in section} for section in parts.values()]
    assert len(parts["train"]) == 10
    assert not patients[0] & patients[2]


def test_a_smaller_pool_leaves_more_to_test():
    assert len(sections(cases(40), shots=8, pool=8)["test"]) == 32


def test_few_patients_shrink_the_pool():
    assert len(sections(cases(12), shots=8)["test"]) == 4


@pytest.mark.parametrize(("count", "shots", "validation"), [(8, 8, 0), (10, 0, 2), (10, 6, 4)])
def test_a_draw_that_leaves_nothing_to_test_is_refused(count, shots, validation):
    with pytest.raises(ValueError, match="shots must be at least 1 and leave cases to test"):
        sections(cases(count), shots=shots, validation=validation)


def test_listed_draws_are_used_where_the_datalist_holds_them():
    support, held_out = support_ids("isic", shots=16, draw=1), held_out_ids("isic")
    listed = [{"case_id": name} for name in {*support, *held_out, "ISIC_other"}]
    parts = sections(listed, shots=4, draw=1, validation=1, listed="isic")
    assert ids(parts["train"]) == set(support[:4])
    assert ids(parts["test"]) == set(held_out)
    assert ids(parts["val"]) == {"ISIC_other"}


def test_listed_draws_are_left_alone_for_other_cases():
    assert len(sections(cases(40), shots=8, listed="isic")["test"]) == 24


@pytest.mark.parametrize("shots", [8, "all"])
def test_a_case_without_id_is_refused(shots):
    with pytest.raises(ValueError, match="every case must have a 'case_id', 1 have none"):
        sections([{"image": "a.png"}], shots=shots)


# What `few_shot_sections` and `whole_sections` gave, two functions that this one replaces: draws that results rest on.
FEW = {
    "train": "p003_0 p006_0 p010_0 p016_0",
    "val": "p001_0 p007_0",
    "test": "p000_0 p005_0 p008_0 p009_0 p011_0 p012_0 p013_0 p015_0 p018_0 p019_0",
}
FEW_IN_TWO_CASES = {
    "train": "p001_0 p001_1 p002_0 p002_1 p007_0 p007_1",
    "val": "p004_0 p004_1",
    "test": "p000_0 p000_1 p003_0 p003_1 p005_0 p005_1 p006_0 p006_1 p008_0 p008_1",
}
WHOLE = {"train": "p001_0 p003_0 p005_0", "val": "p000_0 p006_0", "test": "p007_0 p002_0 p004_0"}


def test_draws_are_the_ones_of_before():
    assert shown(sections(cases(20), shots=4, draw=1, validation=2, pool=8)) == FEW
    assert shown(sections(cases(9, 2), shots=3, draw=0, validation=1)) == FEW_IN_TWO_CASES
    assert shown(sections(cases(8), validation=2, test=3, draw=5)) == WHOLE


def test_validation_out_of_a_listed_split_is_the_one_of_before():
    listed = [{"case_id": one} for part in split_sections("kvasir", "validation").values() for one in part]
    parts = sections(listed, listed="kvasir", split="validation", validation=5, draw=1)
    assert shown(parts)["val"] == (
        "cju1ats0y372e08011yazcsxm cju1d96gsv62d09881b3wecw2 cju1f8w0t65en0799m9oacq0q "
        "cju2m71z2ywwv080131bcrsd3 cju2oi8sq0i2y0801mektzvw8"
    )
    assert shown(parts)["test"].startswith("cju0qkwl35piu0993l0dewei2 cju0qoxqj9q6s0835b43399p4")


def test_the_listed_split_is_followed_and_nothing_overlaps():
    listed = split_sections("acdc")
    everybody = [{"case_id": f"{one}_{n}", "patient_id": one} for ids in listed.values() for one in ids for n in "ab"]
    parts = sections(everybody, listed="acdc", validation=5)
    found = {name: {case["patient_id"] for case in part} for name, part in parts.items()}
    assert found["test"] == set(listed["validation"])
    assert found["train"] | found["val"] == set(listed["training"])
    assert len(found["val"]) == 5
    assert not found["train"] & found["val"]


@pytest.mark.parametrize("shots", ["all", None, 6])
def test_all_labelled_cases_can_train(shots):
    parts = sections(cases(6, 2), shots=shots, validation=0, test=0)
    assert [len(part) for part in parts.values()] == [12, 0, 0]


@pytest.mark.parametrize("name", ["shots", "validation", "test"])
def test_numbers_below_zero_are_refused(name):
    """Counted from the end, they would train on patients that test."""
    with pytest.raises(ValueError, match=rf"{name} must be a whole number, at least 0.*, got -1"):
        sections([{"case_id": f"p{number}"} for number in range(8)], **{"shots": 2, name: -1})


def test_an_evaluation_of_nothing_is_refused():
    parts = sections(cases(3))
    with pytest.raises(ValueError, match="there is no case to score: the part 'test' of the data is empty"):
        to_score(parts)
    assert to_score(parts, "train") == parts["train"]


def test_fewer_of_those_left_can_test():
    assert len(sections(cases(40), shots=8, test=3)["test"]) == 3


def test_training_and_test_patients_can_be_listed():
    parts = sections(cases(6, 2), train_ids=["p001", "p004"], test_ids=["p000_1", "p005"])
    assert shown(parts) == {"train": "p001_0 p001_1 p004_0 p004_1", "val": "", "test": "p000_1 p005_0 p005_1"}


def test_all_others_train_where_only_the_test_is_listed():
    parts = sections(cases(5), test_ids=["p002"], validation=1)
    assert shown(parts)["test"] == "p002_0"
    assert ids(parts["train"] + parts["val"]) == {"p000_0", "p001_0", "p003_0", "p004_0"}


def test_shots_are_drawn_beside_a_listed_test():
    parts = sections(cases(9), shots=2, test_ids=["p002"], validation=3)
    assert [len(part) for part in parts.values()] == [2, 3, 1]
    assert "p002_0" not in ids(parts["train"] + parts["val"])


@pytest.mark.parametrize(("name", "text"), [("ids.txt", "p001\np003\n"), ("ids.json", '["p001", "p003"]')])
def test_ids_can_stand_in_a_file(name, text, tmp_path):
    (tmp_path / name).write_text(text, encoding="utf-8")
    parts = sections(cases(5), train_ids=str(tmp_path / name), test=1)
    assert shown(parts)["train"] == "p001_0 p003_0"
    assert len(parts["test"]) == 1


def test_a_split_file_of_ones_own_is_taken_at_its_word(tmp_path):
    (tmp_path / "mine.json").write_text('{"training": ["p000", "p001", "p002"], "test": ["p004"]}', encoding="utf-8")
    parts = sections(cases(6), listed=tmp_path / "mine.json", validation=1)
    assert [len(part) for part in parts.values()] == [2, 1, 1]
    (tmp_path / "mine.json").write_text('{"training": ["p000"], "validation": ["p004"]}', encoding="utf-8")
    assert shown(sections(cases(6), listed=tmp_path / "mine.json")) == {"train": "p000_0", "val": "p004_0", "test": ""}


def test_a_patient_in_two_parts_is_refused():
    with pytest.raises(ValueError, match="a patient must be in one part, got p001 in train and in test"):
        sections(cases(3, 2), train_ids=["p001_0"], test_ids=["p001_1"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"listed": "acdc"}, "datalist must hold every id that is listed, lacks"),
        ({"train_ids": ["p9"]}, "lacks 1 of 1: p9"),
        ({"validation": 2, "test": 1}, "validation must leave some of 2 training patients to train, got 2"),
        ({"train_ids": ["p000", "p001", "p002"], "test": 1}, "test must take at most the 0 patients that are left"),
        ({"test_ids": ["p000", "p001", "p002"]}, "some patients must train, got none of 3"),
    ],
)
def test_too_few_patients_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        sections(cases(3), **settings)


def test_a_missing_file_of_ids_is_named():
    with pytest.raises(FileNotFoundError, match="ids must be a list, or a file that holds one a line"):
        sections(cases(3), train_ids="nowhere.txt")


def test_patients_can_be_a_pattern_of_the_name():
    eyes = [{"case_id": f"{person}_{side}"} for person in "abcd" for side in "LR"]
    parts = sections(eyes, test=1, patients="(.+)_[LR]")
    assert len(parts["test"]) == 2
    assert len({case["patient_id"] for case in parts["test"]}) == 1


def test_words_are_no_numbers():
    with pytest.raises(ValueError, match=r"shots must be a whole number, at least 0 \(or all\), got many"):
        sections(cases(10), shots="many")
    with pytest.raises(ValueError, match="draw must be a whole number"):
        sections(cases(10), shots=2, draw="first")
    assert len(sections(cases(10), shots="4", pool=4)["train"]) == 4
