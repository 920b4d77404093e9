"""What a method's recipe says for a plan."""

import pytest
import yaml

from amsam_monai.auto.budget import Cost, that_fit
from amsam_monai.auto.methods import METHODS, most_steps, overrides, recipe_text
from amsam_monai.auto.plan import Plan, choose
from tests.auto.test_plan import seen


def train_of(fingerprint, method, **options):
    plan = Plan("mine", {"a": 3}, fingerprint.to_mapping(), choose(fingerprint, **options), ["x"], [])
    return yaml.safe_load(recipe_text(plan, METHODS[method]))["train.yaml"]


def test_neighbours_and_mirror_images_are_those_of_the_plan():
    settings = train_of(seen(depth=10), "plain")["settings#slices"]
    assert settings == {"flips": ["horizontal"], "axis": "thickest", "neighbours": 0}
    told = train_of(seen(plane="axial"), "plain", mirrors=[], neighbours=1)
    assert told["settings#slices"] == {"axis": "axial", "neighbours": 1}
    assert told["train_samples#axis"] == told["validate#inferer#axis"] == "axial"
    assert (told["mirror"], told["turn"]) == (0, 0)


def test_a_picture_that_may_be_mirrored_may_be_turned():
    assert train_of(seen("picture"), "plain")["turn"] == 0.75
    assert train_of(seen("picture"), "autosam")["turns"] is True
    assert train_of(seen("picture", names=("left", "right")), "plain")["turn"] == 0


def test_small_squares_are_larger_for_methods_with_a_frozen_encoder():
    tiny = seen(longest=50)
    sides = {method: train_of(tiny, method)["settings#sam"]["image_size"] for method in METHODS}
    assert sides == {"plain": 112, "autosam": 224, "aisam": 112, "amsam": 224}


def test_few_pictures_are_not_learnt_by_heart():
    def most(fingerprint, method="plain", cases=8, **options):
        ids = [f"{number}" for number in range(cases)]
        plan = Plan("mine", {"a": 3}, fingerprint.to_mapping(), choose(fingerprint, **options), ids, [])
        return most_steps(method, plan)

    assert most(seen("picture")) == 150 * 8 / 4  # batches of 4
    assert most(seen("picture"), cases=16) == 2 * most(seen("picture"))
    assert most(seen("picture"), side=448) == 150 * 8 / 4 * (448 / 224) ** 2  # windows of 224
    assert most(seen("picture"), cases=1) == METHODS["plain"].least
    assert most(seen("picture"), cases=500) == most(seen()) == METHODS["plain"].most
    assert most(seen("picture"), "autosam") == METHODS["autosam"].most
    cost = {"plain": Cost(step=1.0, before=0.0, case=1.0, most=300)}
    steps, _ = that_fit(cost, minutes=30, cases=8, folds=3)
    assert (steps["trial"]["plain"], steps["final"]["plain"]) == (round(300 * 5 / 8), 300)


def test_windows_are_for_encoders_that_train():
    thin = seen("picture", longest=1000, thick=0.01)
    made = {method: train_of(thin, method) for method in METHODS}
    sides = {method: told["settings#sam"]["image_size"] for method, told in made.items()}
    assert sides == {"plain": 896, "autosam": 448, "aisam": 896, "amsam": 448}
    assert {method: told.get("window") for method, told in made.items()} == {
        **dict.fromkeys(["plain", "aisam"], 224),
        **dict.fromkeys(["autosam", "amsam"]),
    }


@pytest.mark.parametrize("method", METHODS)
def test_epochs_times_steps_are_about_the_steps(method):
    told = overrides(method, 400, 50)
    assert told["max_epochs"] * told["steps_per_epoch"] == 400
    assert overrides(method, 3, 50)["max_epochs"] == 3
