import json

import numpy as np
import pytest

from amsam_monai.data.splits import (
    FOLDER,
    draw_support,
    few_shot_table,
    held_out_ids,
    pick,
    read_sections,
    split_entry,
    split_sections,
    support_ids,
)

DRAWN = ("isic", "human", "kvasir", "glas", "acdc")


def test_acdc_has_seventy_ten_twenty_patients_of_a_hundred():
    sections = split_sections("acdc")
    assert {name: len(ids) for name, ids in sections.items()} == {"training": 70, "validation": 10, "test": 20}
    assert len({one for ids in sections.values() for one in ids}) == 100
    assert "patient019" in sections["validation"]
    assert "patient095" in sections["test"]


def test_ssl4mis_splits_acdc_otherwise():
    assert split_sections("acdc", "ssl4mis")["test"] != split_sections("acdc")["test"]
    assert sum(map(len, split_sections("acdc", "ssl4mis").values())) == 100


def test_synapse_has_eighteen_and_twelve_cases_in_the_owner_s_order():
    sections = split_sections("synapse")
    assert len(sections["training"]) == 18
    assert sections["test"][:3] == ["case0008", "case0022", "case0038"]
    assert not set(sections["training"]) & set(sections["test"])


def test_isic_2018_is_split_by_folders():
    folders = split_entry("isic")["folders"]
    assert {one["section"]: one["cases"] for one in folders.values()} == {
        "training": 2594,
        "validation": 100,
        "test": 1000,
    }
    with pytest.raises(ValueError, match="read off the folders"):
        split_sections("isic")


def test_tiktok_s_last_two_thousand_in_natural_order_are_for_testing():
    ids = [str(number) for number in range(1, 2616)]
    sections = split_sections("tiktok", case_ids=sorted(ids))
    assert sections["training"] == ids[:615]
    with pytest.raises(ValueError, match="all 2615 cases, got 3"):
        split_sections("tiktok", case_ids=ids[:3])


def test_the_last_hundred_humans_are_for_testing():
    sections = split_sections("human")
    assert len(sections["test"]) == 100
    assert sections["test"][0] == "191"
    assert sections["test"][-1] == "300"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_split_file_tells_its_source_and_repeats_no_id(path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["dataset"] == path.stem
    for split in content["splits"].values():
        assert len(split["source"]) > 30
        ids = [one for section in split.get("sections", {}).values() for one in section]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("dataset", DRAWN)
def test_small_supports_are_part_of_larger_ones_and_never_held_out(dataset):
    held = set(held_out_ids(dataset))
    for draw in range(3):
        four, eight, sixteen = (support_ids(dataset, shots=shots, draw=draw) for shots in (4, 8, 16))
        assert eight[:4] == four
        assert sixteen[:8] == eight
        assert len(set(sixteen)) == 16
        assert not held & set(sixteen)


@pytest.mark.parametrize("dataset", DRAWN)
def test_the_draws_differ(dataset):
    assert len({tuple(support_ids(dataset, shots=16, draw=draw)) for draw in range(3)}) == 3


@pytest.mark.parametrize(
    ("dataset", "count"), [("isic", 25), ("human", 60), ("kvasir", 40), ("glas", 15), ("acdc", 10)]
)
def test_held_out_parts_have_their_size(dataset, count):
    assert len(held_out_ids(dataset)) == count


@pytest.mark.parametrize(("dataset", "split"), [("glas", "validation"), ("kvasir", "validation"), ("acdc", "official")])
def test_the_files_are_what_the_generator_gives(dataset, split):
    sections = split_sections(dataset, split)
    written = json.loads((FOLDER / f"{dataset}.json").read_text(encoding="utf-8"))["few_shot"]
    pool = sections["training"] + sections["validation"]
    made = few_shot_table(pool, held_out=sections["validation"], unit=written["unit"])
    assert {key: written[key] for key in made} == made


def test_a_draw_is_known():
    # numpy.random.RandomState(0).permutation(5) is 2, 0, 1, 3, 4; ids in natural order are a1, a2, a10, b1, b2
    assert draw_support(["a10", "a1", "a2", "b2", "b1"], shots=3, seed=0) == ["a10", "a1", "a2"]
    assert np.random.RandomState(0).permutation(5).tolist() == [2, 0, 1, 3, 4]


def test_missing_ids_are_named():
    with pytest.raises(ValueError, match="lacks 1: b"):
        pick([{"case_id": "a"}], ["a", "b"])


def test_unknown_wishes_are_refused():
    with pytest.raises(ValueError, match="data set with splits must be one of acdc"):
        split_sections("brain")
    with pytest.raises(ValueError, match="split of acdc must be one of official, ssl4mis, challenge"):
        split_sections("acdc", "mine")
    with pytest.raises(ValueError, match=r"draw of isic must lie in 0\.\.2"):
        support_ids("isic", shots=4, draw=3)
    with pytest.raises(ValueError, match=r"shots of isic must lie in 1\.\.16"):
        support_ids("isic", shots=17, draw=0)
    with pytest.raises(ValueError, match="no few-shot draws"):
        support_ids("synapse", shots=4, draw=0)


def test_a_split_file_of_one_s_own_must_put_an_id_into_one_section(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text('{"training": ["a"], "test": ["a"]}', encoding="utf-8")
    with pytest.raises(ValueError, match="id a must lie in one section, got training and test"):
        read_sections(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.json: split must be a JSON file"):
        read_sections(path)
