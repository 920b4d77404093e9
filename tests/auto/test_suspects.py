"""Cases whose labels teach the wrong thing: found by the folds, left out where the others do without them."""

import json

import pytest

from amsam_monai import train
from amsam_monai.auto import suspects
from amsam_monai.auto.suspects import Weeded, find_suspects, weed
from amsam_monai.auto.trial import Trial
from amsam_monai.phantoms.sets import write_phantoms

FOLDS = {0: list("cdefgh"), 1: list("abefgh"), 2: list("abcd")}  # cases that train


def trials(**dice):
    """Three folds that leave out ab, cd and efgh; .8 where nothing else is said."""
    parts = [[case for case in "abcdefgh" if case not in train] for train in FOLDS.values()]
    return [
        Trial("plain", number, 9, 1.0, {case: {"organ": dice.get(case, 0.8)} for case in part})
        for number, part in enumerate(parts)
    ]


def again(gain, ran):
    """Runs a fold without some cases; the others then gain so much."""

    def run(fold, without):
        ran.append((fold, list(without)))
        row = {case: {"organ": 0.8 + gain} for case in "abcdefgh" if case not in FOLDS[fold]}
        return Trial("plain", fold, 9, 1.0, row)

    return run


def test_a_case_far_below_the_others_is_a_suspect():
    assert find_suspects(trials()) == []
    assert find_suspects(trials(a=0.41)) == []
    assert find_suspects(trials(a=0.3, e=0.2)) == ["e", "a"]
    assert find_suspects(trials(a=0.3, e=0.2, g=0.1)) == ["g", "e"]  # a quarter of eight cases
    assert find_suspects(trials(a=None)) == []


@pytest.mark.parametrize(("gain", "left_out"), [(0.05, ["a"]), (0.001, ["a"]), (-0.01, [])])
def test_it_is_left_out_where_the_others_are_no_worse_without(gain, left_out):
    ran = []
    weeded = weed(trials(a=0.1), FOLDS, again(gain, ran))
    assert ran == [(1, ["a"]), (2, ["a"])]  # the first fold trained without it anyway
    assert weeded.suspects == ["a"]
    assert weeded.gain == pytest.approx(gain)
    assert weeded.left_out == left_out


def test_without_a_suspect_nothing_is_trained():
    ran = []
    assert weed(trials(), FOLDS, again(0.5, ran)) == Weeded([])
    assert ran == []


@pytest.mark.parametrize("kept", [3, pytest.param(4, marks=pytest.mark.slow)])
def test_the_final_training_leaves_it_out_and_the_plan_says_so(tmp_path, monkeypatch, kept):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    list(write_phantoms("isic", tmp_path / "skin", cases=4, side=48))
    nano = {"sam": {"backbone": "vit_nano", "weights": None}, "side": 64, "steps": 3, "folds": 2, "method": "plain"}
    bad = []
    monkeypatch.setattr(suspects, "find_suspects", lambda found: bad or bad.append(next(iter(found[0].dice))) or bad)
    monkeypatch.setattr(suspects, "HARM", 2.0 if kept == 3 else -2.0)
    told = []
    root = train(tmp_path / "skin", tmp_path / "mine", say=told.append, **nano).root
    assert f"plain: training on {kept} cases, 3 steps" in told
    plan = json.loads((root / "plan.json").read_text(encoding="utf-8"))
    assert (plan["choices"]["left out"]["value"] == bad) if kept == 3 else "left out" not in plan["choices"]
    assert any(bad[0] in line and "far worse than the others" in line for line in told)
    assert bad[0] in (root / "report" / "scores.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_it_is_kept_where_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    list(write_phantoms("isic", tmp_path / "skin", cases=4, side=48))
    nano = {"sam": {"backbone": "vit_nano", "weights": None}, "side": 64, "steps": 3, "folds": 2, "method": "plain"}
    monkeypatch.setattr(suspects, "find_suspects", lambda found: [next(iter(found[0].dice))])
    told = []
    train(tmp_path / "skin", tmp_path / "kept", say=told.append, suspects="keep", **nano)
    assert "plain: training on 4 cases, 3 steps" in told
    assert not any("without" in line for line in told)


def test_other_words_for_suspects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="suspects must be measure or keep, got 'drop'"):
        train(tmp_path / "skin", tmp_path / "no", suspects="drop")
