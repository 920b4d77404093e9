"""Folds, budgets and the choice of a method, without any training."""

import pytest

from amsam_monai.auto.budget import FEWEST, Cost, as_told, last_steps, no_room_beside, share_out, that_fit
from amsam_monai.auto.choice import Chosen, cross_validate, most_runs
from amsam_monai.auto.folds import draw_folds, parted
from amsam_monai.auto.last_training import pace_of
from amsam_monai.auto.methods import METHODS, check_method, most_steps, runs_at_most
from amsam_monai.auto.plan import Choice, Plan, choose
from amsam_monai.auto.trial import Trial
from tests.auto.test_plan import seen

CASES = [{"case_id": f"{patient}{part}", "patient_id": patient} for patient in "abcde" for part in (1, 2)]


def runner(table, mean=0.0):
    """Scores by method and fold, those of the mean of two methods the same in all folds, and what was run."""
    ran = []

    def run(method, fold):
        ran.append((method, fold))
        return Trial(method, fold, 10, 1.0, {"x": {"organ": mean if "+" in method else table[method][fold]}})

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
    assert ran == [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1), ("a+b", 0), ("a+b", 1)]
    assert chosen.score("a") == pytest.approx(0.75)


@pytest.mark.parametrize(("mean", "method"), [(0.83, "a+b"), (0.81, "b"), (0.7, "b")])
def test_the_mean_of_two_is_taken_where_it_is_clearly_better(mean, method):
    run, _ = runner({"a": [0.79, 0.79], "b": [0.8, 0.8], "c": [0.1, 0.1]}, mean)
    chosen = cross_validate(["a", "b", "c"], 2, run)
    assert chosen.method == method
    assert chosen.score("a+b") == pytest.approx(mean)
    assert chosen.dropped == ["c"]


def test_a_method_far_ahead_goes_on_alone():
    run, ran = runner({"a": [0.8, 0.7], "b": [0.7, 0.9]})
    assert cross_validate(["a", "b"], 2, run).method == "a"
    assert ran[-1] == ("a", 1)  # and no mean is tried


def scored(method, steps, dice):
    return Trial(method, 0, steps, 1.0, {"x": {"organ": dice}})


def test_an_error_is_expected_to_go_on_falling():
    chosen = Chosen("", {"a": [scored("a", 90, 0.75), scored("a", 90, 0.65)]}, longer={"a": 16.0})
    assert chosen.expected("a") == chosen.score("a") == pytest.approx(0.7)  # nothing tells how fast it learns
    chosen.early["a"] = scored("a", 30, 1 - 0.25 * 3**0.25)  # error ~ steps^-1/4
    assert chosen.expected("a") == pytest.approx(1 - 0.3 * 16**-0.25)
    chosen.early["a"] = scored("a", 30, 0.0)  # as fast as can be believed
    assert chosen.expected("a") == pytest.approx(1 - 0.3 / 4)
    chosen.early["a"] = scored("a", 30, 0.8)  # worse by now
    assert chosen.expected("a") == pytest.approx(0.7)
    chosen.longer = {"a": 0.5}  # less than a trial
    assert chosen.expected("a") == pytest.approx(0.7)


def test_a_method_that_still_learns_goes_before_one_that_is_ready():
    table = {"slow": [0.58, 0.6], "quick": [0.68, 0.7]}
    run, ran = runner(table)
    early = {"slow": scored("slow", 3, 0.25), "quick": scored("quick", 3, 0.67)}
    chosen = cross_validate(["slow", "quick"], 2, run, early.__getitem__, {"slow": 8.0, "quick": 8.0})
    assert (chosen.method, chosen.dropped) == ("slow", ["quick"])
    assert ran == [("slow", 0), ("quick", 0), ("slow", 1)]
    assert cross_validate(["slow", "quick"], 2, run).method == "quick"


def test_a_single_method_has_no_early_trial():
    run, _ = runner({"a": [0.7, 0.7]})
    assert cross_validate(["a"], 2, run, early=None.__getattribute__).early == {}


def test_a_mean_that_was_told_is_measured_as_others_are():
    run, ran = runner({"c": [0.6, 0.6]}, 0.62)
    assert cross_validate(["a+b", "c"], 2, run).method == "a+b"
    assert ran == [("a+b", 0), ("c", 0), ("a+b", 1), ("c", 1)]


@pytest.mark.parametrize("name", ["magic", "plain+magic", "plain+plain", "plain+aisam+amsam", "plain+"])
def test_what_is_no_method_and_no_mean_of_two_is_refused(name):
    with pytest.raises(ValueError, match=r"method must be one of plain, .* or two of them .* got"):
        check_method(name)


def test_equal_methods_leave_the_first():
    run, _ = runner({"cheap": [0.8], "dear": [0.8]})
    assert cross_validate(["cheap", "dear"], 1, run).method == "cheap"


def test_a_score_is_the_mean_of_the_classes_and_passes_over_what_is_not_there():
    trial = Trial("a", 0, 1, 1.0, {"x": {"p": 0.5, "q": None}, "y": {"p": 0.7, "q": 1.0}})
    assert trial.score == pytest.approx((0.6 + 1.0) / 2)
    assert Trial("a", 0, 1, 1.0, {"x": {"p": None}}).score == 0.0


def test_steps_follow_from_what_they_cost():
    cost = {"plain": Cost(step=1.0, before=1.0, case=2.0), "aisam": Cost(step=4.0, before=1.0, case=2.0)}
    steps = share_out(cost, minutes=30, cases=9, folds=3, runs=most_runs(2, 3))
    assert steps["trial"]["plain"] > 3.5 * steps["trial"]["aisam"] > 0
    seconds = 1.0 * steps["final"]["plain"] + 9 * 1.0
    assert seconds == pytest.approx((1 - 0.44 - 0.08) * 1800, abs=1)
    assert steps["half"]["plain"] == pytest.approx(((1 - 0.44 - 0.08) * 1800 / 2 - 9), abs=1)
    alone = share_out({"aisam": cost["aisam"]}, minutes=30, cases=9, folds=0, runs=0)["final"]["aisam"]
    assert 4 * alone + 9 * 1.0 == pytest.approx((1 - 0.08) * 1800, abs=4)
    assert share_out(cost, minutes=0.1, cases=9, folds=3, runs=6)["final"]["aisam"] == FEWEST
    assert share_out(cost, minutes=300, cases=9, folds=3, runs=6)["final"]["plain"] == METHODS["plain"].most


def test_the_last_training_has_the_time_that_the_trials_left():
    facts = seen().to_mapping()  # volumes
    plan = Plan(
        "mine", {"a": 1}, facts, {}, [], [], steps={"final": {"plain": 700}, "half": {"plain": 300, "amsam": 200}}
    )
    pace = {"plain": 2.0, "amsam": 1.0}
    assert last_steps(["plain"], plan, 1000, pace) == {"plain": 500}
    assert last_steps(["plain"], plan, 1e6, pace) == {"plain": METHODS["plain"].most}
    assert last_steps(["plain"], plan, 100, pace) == last_steps(["plain"], plan, -100, pace) == {"plain": 350}
    assert last_steps(["plain", "amsam"], plan, 1000, pace) == {"plain": 250, "amsam": 500}
    assert last_steps(["plain", "amsam"], plan, 3000, pace) == {"plain": 1200, "amsam": METHODS["amsam"].most}
    assert last_steps(["plain", "amsam"], plan, 0, pace) == {"plain": 150, "amsam": 100}


def test_a_pace_is_what_all_trials_took():
    trials = [Trial("plain", 0, 100, 150.0), Trial("plain", 0, 33, 51.0), Trial("plain", 1, 67, 99.0)]
    assert pace_of(trials) == 1.5


def test_time_for_more_than_one_training_makes_runs_from_other_seeds():
    facts, choices = seen("picture"), choose(seen("picture"))
    choices["runs"] = Choice(3, "")
    plan = Plan("mine", {"a": 1}, facts.to_mapping(), choices, list("abcdefgh"), [])
    assert (most_steps("plain", plan), runs_at_most("plain", plan), runs_at_most("aisam", plan)) == (300, 3, 1)
    cost = {"plain": Cost(step=1.0, before=0.0, case=1.0, most=300, runs=3)}
    for minutes, runs, each in ((8, 1, 230), (10, 1, 300), (15, 2, 288), (20, 3, 284), (60, 3, 300)):
        steps = share_out(cost, minutes=minutes, cases=8, folds=3, runs=3)
        assert steps["final"] == {"plain": each, "plain, runs": runs}
        assert "plain, runs" not in steps["trial"]
    trial = share_out(cost, minutes=60, cases=8, folds=3, runs=3)["trial"]["plain"]
    assert trial == round(300 * 5 / 8)  # and what three runs do not need is the trials'
    plan.steps = {"trial": {"plain": 100}, "final": {"plain": 300, "plain, runs": 2}}
    for seconds, runs, each in (
        (300, 1, 300),
        (440, 1, 300),
        (450, 2, 225),
        (600, 2, 300),
        (700, 3, 233),
        (9e9, 3, 300),
    ):
        last = last_steps(["plain"], plan, seconds, {"plain": 1.0})
        assert last == {"plain": each} | ({"plain, runs": runs} if runs > 1 else {})
    plan.choices["runs"] = Choice(1, "as told")
    assert last_steps(["plain"], plan, 9e9, {"plain": 1.0}) == {"plain": 300}
    assert as_told(["plain", "aisam"], 90, 2) == {"plain": 90, "aisam": 90, "plain, runs": 2}


def test_what_no_final_training_needs_goes_to_the_trials():
    plenty = {name: Cost(step=1.0, before=0.0, case=1.0, most=1500) for name in ("plain", "amsam")}
    little = {name: Cost(step=1.0, before=0.0, case=1.0, most=most) for name, most in (("plain", 300), ("amsam", 200))}
    runs = most_runs(2, 3)
    before, after = (share_out(cost, minutes=30, cases=9, folds=3, runs=runs) for cost in (plenty, little))
    assert after["final"] == after["half"] == {"plain": 300, "amsam": 200}  # so a mean costs neither of them a step
    assert before["half"]["plain"] == before["final"]["plain"] // 2
    trial = (0.92 * 1800 - 500) / (runs + 2)
    assert after["trial"] == {"plain": int(trial - 3), "amsam": int(trial - 3)}
    assert after["trial"]["plain"] > before["trial"]["plain"]
    little["plain"] = Cost(step=1.0, before=0.0, case=1.0, most=500)  # time for one of them
    some = share_out(little, minutes=30, cases=9, folds=3, runs=runs)
    assert some["trial"]["plain"] == before["trial"]["plain"]
    fewest = share_out({"plain": Cost(0.1, 0.0, 0.0, most=90)}, minutes=30, cases=9, folds=3, runs=3)
    assert (fewest["trial"]["plain"], fewest["final"]["plain"]) == (METHODS["plain"].least, 90)


def test_methods_that_learn_nothing_in_a_trial_leave_their_time_to_others():
    cost = {name: Cost(step=1.0, before=0.0, case=1.0) for name in ("plain", "aisam")}
    steps, slow = that_fit(cost, minutes=30, cases=9, folds=3)
    both = share_out(cost, minutes=30, cases=9, folds=3, runs=most_runs(2, 3))
    assert slow == {"aisam": both["trial"]["aisam"]}
    assert slow["aisam"] < METHODS["aisam"].least
    assert steps["trial"] == {"plain": int(0.2 * 1800 / 3) - 3}  # alone it need not be chosen, so that trials are short
    assert steps["early"] == {"plain": steps["trial"]["plain"] // 3}
    assert steps["rounds"] == {"folds": 3}
    steps, slow = that_fit(cost, minutes=90, cases=9, folds=3)
    assert (set(steps["trial"]), slow) == ({"plain", "aisam"}, {})
    steps, slow = that_fit(cost, minutes=1, cases=9, folds=3)  # too few for either, but one there must be
    assert (set(steps["trial"]), set(slow)) == ({"plain"}, {"aisam"})
    assert that_fit({"aisam": cost["aisam"]}, minutes=1, cases=9, folds=3)[1] == {}


def test_folds_go_where_a_trial_would_be_too_short_for_the_last_method():
    cost = {"plain": Cost(step=2.5, before=0.0, case=40.0)}
    steps, _ = that_fit(cost, minutes=30, cases=4, folds=3)
    assert steps["rounds"]["folds"] == 2
    assert steps["trial"]["plain"] == METHODS["plain"].least  # of which 0.2 of the time is not enough, but 0.44 is
    assert that_fit(cost, minutes=3, cases=4, folds=3)[0]["rounds"]["folds"] == 1
    steps, slow = that_fit(
        {"plain": cost["plain"], "aisam": cost["plain"]}, minutes=3, cases=4, folds=3, choosing=False
    )
    assert (steps["rounds"]["folds"], slow, set(steps["final"])) == (1, {}, {"plain", "aisam"})
    assert that_fit(cost, minutes=3, cases=4, folds=0)[0]["rounds"]["folds"] == 0


def test_others_are_not_timed_where_the_last_method_takes_all_the_time():
    slow, quick = Cost(step=2.5, before=0.0, case=40.0), Cost(step=0.01, before=0.0, case=0.1)
    for minutes, full in ((3, True), (30, True), (60, False)):
        assert no_room_beside(slow, minutes=minutes, cases=4, folds=3) == full
        _, dropped = that_fit({"plain": slow, "autosam": quick}, minutes=minutes, cases=4, folds=3)
        assert dropped.keys() >= ({"autosam"} if full else set())  # it would have been dropped, however quick
    assert not no_room_beside(quick, minutes=3, cases=4, folds=3)
    assert no_room_beside(slow, minutes=1, cases=4, folds=2)


def test_a_detector_has_steps_of_its_own():
    cost = {"amsam": Cost(step=0.5, before=0.0, case=2.0, detector=1.0)}
    steps = share_out(cost, minutes=8, cases=9, folds=3, runs=3)
    fitted, trained = steps["final"]["amsam, detector"], steps["final"]["amsam"]
    trial = 3 * 2.0 + FEWEST * 1.0 + (METHODS["amsam"].least + 0.5) * 0.5  # which is more than 0.2 of the time
    assert fitted * 1.0 + trained * 0.5 == pytest.approx((1 - 0.08) * 480 - 3 * trial, abs=2)
    assert fitted == pytest.approx(0.4 * (0.92 * 480 - 3 * trial), abs=1)
    assert as_told(["plain", "amsam"], 100) == {"plain": 100, "amsam": 100, "amsam, detector": 50}
    assert as_told(["amsam"], 2) == {"amsam": 2, "amsam, detector": FEWEST}
