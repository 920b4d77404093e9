"""Folds, budgets and the choice of a method, without any training."""

import pytest

from amsam_monai.auto.budget import FEWEST, Cost, share_out
from amsam_monai.auto.choice import cross_validate, most_runs
from amsam_monai.auto.folds import draw_folds, parted
from amsam_monai.auto.trial import Trial

CASES = [{"case_id": f"{patient}{part}", "patient_id": patient} for patient in "abcde" for part in (1, 2)]


def runner(table):
    """Scores by method and fold, and what was run."""
    ran = []

    def run(method, fold):
        ran.append((method, fold))
        return Trial(method, fold, 10, 1.0, {"x": {"organ": table[method][fold]}})

    return run, ran


def test_folds_hold_every_patient_once_and_cut_none_in_two():
    folds = draw_folds(CASES, folds=3, seed=1)
    assert sorted(patient for fold in folds for patient in fold) == list("abcde")
    assert sorted(map(len, folds)) == [1, 2, 2]
    assert draw_folds(CASES, folds=3, seed=1) == folds
    train, left_out = parted(CASES, folds[0])
    assert {case["patient_id"] for case in left_out} == set(folds[0])
    assert not {case["patient_id"] for case in train} & set(folds[0])


def test_a_single_patient_cannot_be_left_out():
    with pytest.raises(ValueError, match=r"at least two patients.*got 2 case"):
        draw_folds(CASES[:2])


def test_hopeless_methods_are_dropped_after_the_first_fold():
    run, ran = runner({"a": [0.8, 0.7], "b": [0.78, 0.79], "c": [0.6, 0.9]})
    chosen = cross_validate(["a", "b", "c"], 2, run)
    assert chosen.method == "b"
    assert chosen.dropped == ["c"]
    assert ran == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1)]
    assert chosen.score("a") == pytest.approx(0.75)


def test_a_method_far_ahead_goes_on_alone():
    run, ran = runner({"a": [0.8, 0.7], "b": [0.7, 0.9]})
    assert cross_validate(["a", "b"], 2, run).method == "a"
    assert ran[-1] == ("a", 1)


def test_equal_methods_leave_the_first():
    run, _ = runner({"cheap": [0.8], "dear": [0.8]})
    assert cross_validate(["cheap", "dear"], 1, run).method == "cheap"


def test_a_score_is_the_mean_of_the_classes_and_passes_over_what_is_not_there():
    trial = Trial("a", 0, 1, 1.0, {"x": {"p": 0.5, "q": None}, "y": {"p": 0.7, "q": 1.0}})
    assert trial.score == pytest.approx((0.6 + 1.0) / 2)
    assert Trial("a", 0, 1, 1.0, {"x": {"p": None}}).score == 0.0


def test_steps_follow_from_what_they_cost():
    cost = {"quick": Cost(step=0.5, before=1.0, case=2.0), "slow": Cost(step=5.0, before=1.0, case=2.0)}
    steps = share_out(cost, minutes=30, cases=9, folds=3, runs=most_runs(2, 3))
    assert steps["trial"]["quick"] > 9 * steps["trial"]["slow"] > 0
    seconds = 0.5 * steps["final"]["quick"] + 9 * 1.0
    assert seconds == pytest.approx((1 - 0.44 - 0.08) * 1800, abs=1)
    alone = share_out(cost, minutes=30, cases=9, folds=0, runs=0)["final"]["quick"]
    assert 0.5 * alone + 9 * 1.0 == pytest.approx((1 - 0.08) * 1800, abs=1)
    assert share_out(cost, minutes=0.1, cases=9, folds=3, runs=6)["final"]["slow"] == FEWEST
