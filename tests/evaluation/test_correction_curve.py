"""Correcting cases in one order or another."""

import numpy as np
import pytest

from amsam_monai.evaluation.prompting.correction_curve import correction_curves, curve, needed, plot_corrections

DICE = {"a": 0.9, "b": 0.5, "c": 1.0, "d": 0.8}


def test_each_correction_adds_what_the_case_lacked():
    np.testing.assert_allclose(curve([0.5, 0.7, 0.9], [1, 0, 2]), [0.7, 0.8, 2.9 / 3, 1.0])


def test_the_target_counts_where_it_is_first_reached():
    assert needed(np.array([0.7, 0.9, 0.95, 1.0]), 0.95) == 2
    assert needed(np.array([0.99, 1.0]), 0.95) == 0


def test_a_network_that_knows_its_mistakes_needs_as_few_as_the_best_order():
    found = correction_curves(DICE, {"a": 0.5, "b": 0.1, "c": 0.9, "d": 0.3}, target=0.95)
    assert found.chosen == found.oracle
    assert found.needed["least certain"] == 2
    assert found.needed["random"] > 2
    assert found.chosen[0] == found.random[0] == pytest.approx(0.8)
    assert found.chosen[-1] == found.random[-1] == pytest.approx(1.0)
    assert 0 < found.draws_behind <= 1


def test_a_network_that_is_sure_of_its_mistakes_is_no_better_than_chance():
    found = correction_curves(DICE, {"a": 0.3, "b": 0.9, "c": 0.1, "d": 0.5}, target=0.95)
    assert found.needed["least certain"] == 4
    assert found.draws_behind == 0


def test_the_random_curve_is_the_mean_over_orders():
    found = correction_curves(DICE, DICE)
    np.testing.assert_allclose(found.random, [0.8, 0.85, 0.9, 0.95, 1.0])


def test_cases_must_be_the_same():
    with pytest.raises(ValueError, match="must have the same cases"):
        correction_curves(DICE, {"a": 1.0})


def test_the_picture_is_written(tmp_path):
    plot_corrections(correction_curves(DICE, DICE), tmp_path / "curve.png", title="x")
    assert (tmp_path / "curve.png").stat().st_size > 5000
