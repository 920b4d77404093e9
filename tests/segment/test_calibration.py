"""From how sure a network is to the Dice to expect: plain numbers from few masks, true ones from many."""

import json
import math

import numpy as np
import pytest

from amsam_monai.bundles.settings import Settings
from amsam_monai.evaluation.scoring.expected import judge_expected
from amsam_monai.segment.calibration import Mask, expected_dice, fit_quality, squashed
from amsam_monai.segment.quality import FEATURES

SETTINGS = {
    "system": "amsam",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": ["liver", "spleen"],
}


def there(confidence, **more):
    """Features of a mask that is there, all alike but for the confidence."""
    plain = {"firmness": 0.7, "agreement": math.nan, "whole": 1.0, "continuity": 0.8, "size": -1.5}
    return {**plain, "confidence": confidence, **more}


def absent(mass=0.0, beside=0.0):
    return {**dict.fromkeys(FEATURES, math.nan), "mass": mass, "beside": beside}


def masks(count, dice_of, labels=("liver", "spleen"), seed=0, **more):
    """A mask of each class of `count` cases, whose confidence lies between 0.8 and 1."""
    rng = np.random.default_rng(seed)
    found = []
    for case in range(count):
        for label in labels:
            confidence = float(rng.uniform(0.8, 1))
            found.append(Mask(f"c{case}", label, there(confidence), dice_of(confidence, label), -1.5, **more))
    return found


def test_many_masks_teach_the_true_line_and_each_class():
    def dice_of(confidence, label):
        return 2.5 * confidence - 1.6 - 0.1 * (label == "spleen")

    block = fit_quality(masks(200, dice_of))["case"]
    for label in ("liver", "spleen"):
        for confidence in (0.85, 0.95):
            value, error = expected_dice(there(confidence), label, block)
            assert value == pytest.approx(dice_of(confidence, label), abs=0.02)
            assert error < 0.02


def test_few_masks_stay_near_plain_numbers_and_tell_a_wide_error():
    few = fit_quality(masks(2, lambda confidence, label: confidence))["case"]
    many = fit_quality(masks(50, lambda confidence, label: confidence))["case"]
    assert 0.3 < few["features"]["confidence"][1] < 1.0
    assert expected_dice(there(0.9), "liver", few)[1] > expected_dice(there(0.9), "liver", many)[1]
    alone = fit_quality(masks(1, lambda confidence, label: 0.6))["case"]
    assert expected_dice(there(0.9), "liver", alone)[0] == pytest.approx(0.6, abs=0.05)


def test_no_mask_is_expected_to_be_much_better_than_the_best_that_was_seen():
    block = fit_quality(masks(3, lambda confidence, label: 0.5 + 0.4 * confidence))["case"]
    best = max(mask.dice for mask in masks(3, lambda confidence, label: 0.5 + 0.4 * confidence))
    assert block["cases"] == 3
    assert block["top"] == pytest.approx(best + (1 - best) / 4)
    surest = {**there(1.0, firmness=1.0, continuity=1.0), "agreement": 1.0}  # as of a network that was trained longer
    assert best - 0.05 < expected_dice(surest, "liver", block)[0] < block["top"]
    many = fit_quality(masks(100, lambda confidence, label: 0.5 + 0.4 * confidence))["case"]
    assert many["top"] < 0.902
    before = {name: value for name, value in block.items() if name not in ("cases", "top")}
    assert expected_dice(surest, "liver", before)[0] > block["top"]  # a file of before is read as it was


def test_the_surer_the_better_even_where_few_masks_say_otherwise():
    block = fit_quality(masks(6, lambda confidence, label: 1.8 - confidence))["case"]
    values = [expected_dice(there(confidence), "liver", block)[0] for confidence in np.linspace(0.2, 1, 30)]
    assert values == sorted(values)
    assert all(slope >= 0 for _, slope in block["features"].values())


def test_one_mask_that_went_wrong_does_not_pull_the_others_down():
    good = masks(8, lambda confidence, label: confidence, labels=("liver",))
    wrong = [*good[:-1], Mask("c7", "liver", there(0.95), 0.1, -1.5)]
    whole, pulled = (fit_quality(some)["case"] for some in (good, wrong))
    first, second = (expected_dice(there(0.95), "liver", block) for block in (whole, pulled))
    assert first[0] - second[0] < 0.03  # a mean would sink by 0.1
    assert second[1] > 2 * first[1]  # the error tells of it


def test_the_error_is_as_wide_as_masks_are_off():
    rng = np.random.default_rng(1)
    noisy = masks(120, lambda confidence, label: float(np.clip(confidence - 0.1 + 0.05 * rng.normal(), 0, 1)))
    block = fit_quality(noisy[:120])["case"]
    told = [expected_dice(mask.features, mask.label, block) for mask in noisy[120:]]
    off = [abs(value - mask.dice) for (value, _), mask in zip(told, noisy[120:], strict=True)]
    within = np.mean([distance <= error for distance, (_, error) in zip(off, told, strict=True)])
    assert 0.55 < within < 0.85  # of a normal error 0.68


def test_a_size_that_is_not_usual_is_doubted_in_volumes_alone():
    def sized(slices):
        found = []
        for case in range(20):
            off = 0.5 if case % 4 == 0 else 0.0
            found.append(Mask(f"c{case}", "liver", there(0.9, size=-1.5 + off), 0.9 - off, -1.5))
            if slices:
                found.append(Mask(f"c{case}", "liver", there(0.9, size=-1.5 + off), 0.9, -1.5, 0))
        return fit_quality(found)["case"]

    block = sized(slices=True)
    assert block["usual"] == {"liver": -1.5}
    usual, small, large = (expected_dice(there(0.9, size=size), "liver", block)[0] for size in (-1.5, -1.9, -1.1))
    assert usual - small == pytest.approx(usual - large)
    assert usual - small > 0.15
    assert sized(slices=False)["usual"] == {}


def test_a_class_that_was_never_missing_is_not_believed_to_be_missing():
    always = fit_quality(masks(10, lambda confidence, label: 0.9))["case"]
    value, error = expected_dice(absent(), "liver", always)
    assert value == pytest.approx(0.05, abs=0.01)
    assert error == pytest.approx(math.sqrt(value * (1 - value)))


def test_doubt_and_masks_beside_make_a_missing_class_unlikely():
    found = masks(6, lambda confidence, label: 0.9) + masks(6, lambda confidence, label: 0.9, slice=0)
    for number in range(60):
        doubtful = number % 2
        features = absent(mass=2.0 * doubtful, beside=2.0 * doubtful)
        truth = -2.0 if doubtful else math.nan
        found.append(Mask(f"c{number % 6}", "liver", features, 0.0 if doubtful else 1.0, truth, number))
    block = fit_quality(found)["slice"]
    assert expected_dice(absent(), "liver", block)[0] > 0.9
    assert expected_dice(absent(2, 2), "liver", block)[0] < 0.1
    assert expected_dice(absent(2, 0), "liver", block)[0] > expected_dice(absent(2, 2), "liver", block)[0]
    assert min(block["absent"]["mass"], block["absent"]["beside"]) >= 0


def test_a_case_of_many_slices_counts_as_one():
    def sliced(case, count, dice):
        return [Mask(case, "liver", there(0.9), dice, -1.5, at) for at in range(count)]

    whole = [Mask(case, "liver", there(0.9), 0.5, -1.5) for case in "ab"]
    block = fit_quality([*whole, *sliced("a", 100, 0.9), *sliced("b", 2, 0.1)])["slice"]
    assert expected_dice(there(0.9), "liver", block)[0] == pytest.approx(0.5, abs=0.01)


def test_a_class_that_was_in_no_case_is_an_average_one():
    block = fit_quality(masks(5, lambda confidence, label: 0.8, labels=("liver",)))["case"]
    assert expected_dice(there(0.9), "spleen", block) == pytest.approx(
        expected_dice(there(0.9), "liver", block), abs=0.01
    )


def test_a_feature_that_is_not_there_is_passed_over():
    flipped = [
        Mask(mask.case, mask.label, {**mask.features, "agreement": mask.features["confidence"]}, mask.dice, -1.5)
        for mask in masks(9, lambda confidence, label: confidence)
    ]
    block = fit_quality(flipped)["case"]
    assert "agreement" in block["features"]
    value, _ = expected_dice(there(0.9, continuity=math.nan), "liver", block)  # without flips, in a single slice
    assert 0.8 < value < 1
    mixed = fit_quality([*flipped, *masks(9, lambda confidence, label: confidence, seed=2)])["case"]
    assert "agreement" not in mixed["features"]


def test_a_dice_lies_between_0_and_1_and_none_tie():
    values = [squashed(value) for value in np.linspace(-1, 2, 61)]
    assert len(set(values)) == len(values)
    assert values == sorted(values)
    assert 0 < values[0] < values[-1] < 1
    assert squashed(0.5) == 0.5
    assert squashed(0.9) == pytest.approx(0.9)
    bent = [squashed(value, top=0.8) for value in np.linspace(-1, 2, 61)]
    assert bent == sorted(bent)
    assert len(set(bent)) == len(bent)
    assert 0.79 < bent[-1] < 0.8
    assert squashed(0.7, top=0.8) == 0.7


def test_the_block_is_plain_and_a_part_of_settings():
    slices = masks(5, lambda confidence, label: confidence, slice=3)
    block = fit_quality([*masks(5, lambda confidence, label: confidence), *slices])
    again = json.loads(json.dumps(block))
    settings = Settings.of({**SETTINGS, "quality": again})
    assert settings.quality == block
    assert settings.changed({"quality": None}).quality is None
    assert expected_dice(there(0.9), "liver", again["slice"]) == expected_dice(there(0.9), "liver", block["slice"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"volume": {}}, "settings.quality must be a mapping of case, slice, got 'volume'"),
        ({"case": {}}, "settings.quality.case must have count, .* lacks count"),
        ({"labels": {"kidney": 0.1}}, "quality.case.labels must be a mapping of liver, spleen, got 'kidney'"),
        ({"features": {"confidence": 1.0}}, "features.confidence must be 2 numbers, got 1.0"),
        ({"features": {"brightness": [0, 1]}}, "features must be a mapping of confidence, .*, got 'brightness'"),
        ({"spread": "wide"}, "quality.case.spread must be a number, got 'wide'"),
    ],
)
def test_another_block_is_refused(change, message):
    block = fit_quality(masks(3, lambda confidence, label: confidence))
    whole = {**block, **change} if set(change) & {"volume", "case"} else {"case": {**block["case"], **change}}
    with pytest.raises(ValueError, match=message):
        Settings.of({**SETTINGS, "quality": whole})


def test_masks_that_teach_nothing_are_refused():
    with pytest.raises(ValueError, match="must hold those of whole cases"):
        fit_quality(masks(2, lambda confidence, label: 0.5, slice=1))
    with pytest.raises(ValueError, match=r"dice must lie in \[0, 1\], got 1.5 of c0, liver"):
        fit_quality(masks(2, lambda confidence, label: 1.5))


def test_bad_masks_are_found_among_good_ones():
    rng = np.random.default_rng(0)

    def case(number):
        """Half of the bad masks show by their specks, half by their doubt."""
        bad, how = number % 4 == 0, number % 8 == 0
        shown = there(0.95 - 0.1 * (bad and how) + 0.02 * rng.normal(), whole=1.0 - 0.15 * (bad and not how))
        return Mask(f"c{number}", "liver", shown, 0.5 if bad else 0.9, -1.5)

    found = [case(number) for number in range(140)]
    block = fit_quality(found[:40])["case"]
    told = [expected_dice(mask.features, mask.label, block)[0] for mask in found[40:]]
    verdict = judge_expected(told, [mask.dice for mask in found[40:]])
    assert verdict["auroc"] > 0.95
    assert verdict["look_at"] < 0.35
