import math

import pytest

from amsam_monai.evaluation.scoring.expected import judge_expected


def test_a_perfect_order_needs_only_the_bad_ones():
    found = judge_expected([0.1, 0.2, 0.8, 0.9], [0.3, 0.5, 0.75, 0.95])
    assert (found["count"], found["bad"]) == (4, 2)
    assert (found["spearman"], found["auroc"], found["look_at"]) == (1, 1, 0.5)
    assert found["error"] == pytest.approx((0.2 + 0.3 + 0.05 + 0.05) / 4)


def test_a_reversed_order_needs_all():
    found = judge_expected([4, 3, 2, 1], [0.1, 0.2, 0.8, 0.9])
    assert (found["spearman"], found["auroc"], found["look_at"]) == (-1, 0, 1)


def test_nine_tenths_of_the_bad_ones_may_leave_one_out():
    dice = [0.1] * 10 + [0.9] * 10
    expected = [0.2] * 9 + [0.95] + [0.8] * 10
    assert judge_expected(expected, dice)["look_at"] == 9 / 20
    assert judge_expected(expected, dice, caught=1.0)["look_at"] == 1


def test_ties_count_half_and_are_all_looked_at():
    found = judge_expected([0.5] * 4, [0.1, 0.2, 0.8, 0.9])
    assert math.isnan(found["spearman"])
    assert (found["auroc"], found["look_at"]) == (0.5, 1)


def test_without_bad_ones_or_numbers_there_is_nothing_to_tell():
    found = judge_expected([0.9, 0.8, math.nan], [0.9, 0.8, 0.1])
    assert (found["count"], found["bad"]) == (2, 0)
    assert math.isnan(found["auroc"])
    assert math.isnan(found["look_at"])
    assert math.isnan(judge_expected([], [])["error"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one length, got 1 and 2"):
        judge_expected([1], [1, 1])
    with pytest.raises(ValueError, match="caught must be a share above 0, up to 1, got 0"):
        judge_expected([1], [1], caught=0)
