"""What a plan settles, and that a file keeps it."""

import pytest

from amsam_monai.auto.fingerprint import ClassFacts, Fingerprint
from amsam_monai.auto.plan import Plan, choose


def seen(
    kind="volume",
    values=(0.0, 900.0),
    labelled=(100.0, 400.0),
    longest=240,
    depth=40,
    names=("a",),
    thick=0.1,
    objects=1.0,
    **more,
):
    classes = {name: ClassFacts(5, 0.5, 0.05, thick, objects) for name in names}
    spacing = more.pop("spacing_mm", (1.5, 1.0, 1.0) if kind == "volume" else None)
    return Fingerprint(kind, 8, 8, kind == "picture", longest, depth, spacing, values, labelled, classes, **more)


def value(fingerprint, name, **options):
    return choose(fingerprint, **options)[name].value


def test_hounsfield_units_are_ct_with_a_window_about_the_labels():
    ct = seen(values=(-1024.0, 2000.0), labelled=(-20.0, 180.0))
    assert value(ct, "modality") == "CT"
    assert value(ct, "intensity") == {"mode": "hu_window", "low": -70.0, "high": 230.0}


def test_other_volumes_are_scaled_by_percentiles_and_pictures_by_their_depth():
    assert value(seen(), "intensity") == {"mode": "percentile"}
    assert value(seen("picture", values=(0.0, 255.0), depth=1), "intensity") == {"mode": "bit_depth"}


def test_tiny_slices_are_magnified_and_thin_parts_get_a_larger_square():
    assert value(seen(longest=50, thick=0.2), "side") == 112
    assert value(seen(longest=240), "side") == 224
    assert value(seen(longest=240, thick=0.03), "side") == 448
    assert value(seen("picture", longest=1000, thick=0.01), "side") == 896
    assert value(seen("picture", longest=500, thick=0.01), "side") == 448


def test_many_classes_train_on_a_quick_square():
    assert value(seen(longest=257, thick=0.04, names="abcd"), "side") == 224
    assert value(seen(longest=257, thick=0.04, names="abc"), "side") == 336
    assert value(seen(longest=512, thick=0.04, names="abcd"), "side") == 336  # too coarse for such slices


def test_many_objects_are_seen_a_few_at_a_time():
    assert value(seen("picture", longest=800, objects=8.0), "side") == 448
    assert value(seen("picture", longest=300, objects=8.0), "side") == 224
    assert value(seen("picture", longest=800, objects=2.0), "side") == 224
    assert value(seen(longest=800, objects=8.0), "side") == 224


@pytest.mark.parametrize(("side", "window", "batch"), [(112, 0, 8), (336, 0, 2), (448, 224, 4), (896, 224, 4)])
def test_parts_of_a_large_square_train(side, window, batch):
    told = choose(seen(), side=side)
    assert (told["window"].value, told["batch"].value) == (window, batch)


def test_slices_follow_the_plane_that_all_volumes_have():
    assert value(seen(plane="coronal"), "axis") == "coronal"
    assert value(seen(), "axis") == "thickest"
    assert value(seen(plane="axial"), "axis", axis="sagittal") == "sagittal"


def test_a_left_and_a_right_structure_forbid_mirror_images():
    assert value(seen("picture", names=("left lung", "right lung")), "mirrors") == []
    assert value(seen("picture", names=("lung", "heart")), "mirrors") == ["horizontal", "vertical"]
    assert value(seen(), "mirrors") == ["horizontal"]
    assert value(seen(names="abcd"), "mirrors") == []


def test_slices_far_apart_are_not_seen_together():
    assert value(seen(), "neighbours") == 1
    assert value(seen(depth=10), "neighbours") == 0
    assert value(seen(spacing_mm=(10.0, 1.0, 1.0)), "neighbours") == 0


def test_what_is_told_goes_before_the_rules():
    told = choose(seen(), side=192, intensity={"mode": "none"}, mirrors=["vertical"], neighbours=0)
    assert (told["side"].value, told["mirrors"].value, told["neighbours"].value) == (192, ["vertical"], 0)
    assert told["intensity"].value == {"mode": "none"}
    assert told["side"].reason == "as told"


def test_a_plan_goes_through_its_file(tmp_path):
    plan = Plan("mine", {"a": 1}, seen().to_mapping(), choose(seen()), ["x"], [["x"]], steps={"final": {"plain": 7}})
    plan.write(tmp_path / "plan.json")
    again = Plan.read(tmp_path / "plan.json")
    assert again.steps == plan.steps
    assert again.lines() == plan.lines()
    assert again["side"] == plan["side"]


def test_another_file_is_refused(tmp_path):
    (tmp_path / "plan.json").write_text('{"format": "other"}', encoding="utf-8")
    with pytest.raises(ValueError, match="must be a plan that `amsam train` wrote"):
        Plan.read(tmp_path / "plan.json")
