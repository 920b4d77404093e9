"""MONAI metrics and handlers give the numbers of `score_case`."""

import csv

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.metrics import DiceMetric

from amsam_monai.evaluation import ReportSaver, StrictDice, StrictDiceHandler, VolumeScores, VolumeScoresHandler

LABEL = torch.zeros(1, 8, 10, dtype=torch.long)
LABEL[0, 2:6, 2:7] = 1  # 20 pixels
HALF = torch.zeros_like(LABEL)
HALF[0, 2:4, 2:7] = 1  # 10 of them: Dice 2 * 10 / 30
EMPTY = torch.zeros_like(LABEL)
DICE = 2 / 3


def one_hot(label, classes=2):
    return torch.nn.functional.one_hot(label[0], classes).movedim(-1, 0).float()


def test_label_maps_one_hot_and_logits_score_alike():
    metric = StrictDice(1)
    metric(HALF[None], LABEL[None])
    metric([one_hot(HALF)], [one_hot(LABEL)])
    metric([one_hot(HALF) * 7 - 3], [LABEL])
    assert metric.get_buffer().flatten().tolist() == pytest.approx([DICE] * 3)


def test_a_missed_lesion_counts_and_two_empty_masks_do_not():
    metric = StrictDice(1)
    metric([HALF, EMPTY, HALF, EMPTY], [LABEL, LABEL, EMPTY, EMPTY])
    assert metric.aggregate().item() == pytest.approx(DICE / 3)


def test_dice_agrees_with_monai_where_nothing_is_empty():
    torch.manual_seed(0)
    pred, label = torch.randint(0, 4, (3, 1, 9, 9)), torch.randint(0, 4, (3, 1, 9, 9))
    ours, theirs = StrictDice(3), DiceMetric(include_background=False, num_classes=4)
    ours(pred, label)
    theirs(pred, label)
    assert ours.aggregate().item() == pytest.approx(theirs.aggregate().item(), abs=1e-6)


def test_a_class_without_cases_is_left_out_of_the_mean():
    metric = StrictDice(2, per_class=True)
    metric([HALF], [LABEL])
    assert metric.aggregate()[0].item() == pytest.approx(DICE)
    assert metric.aggregate()[1].isnan()
    whole = StrictDice(2)
    whole([HALF], [LABEL])
    assert whole.aggregate().item() == pytest.approx(DICE)


def test_distances_take_the_spacing_of_the_label():
    pred, label = torch.zeros(2, 1, 6, 6, 6, dtype=torch.long)
    pred[0, 1, 1, 1], label[0, 4, 1, 1] = 1, 1
    affine = torch.diag(torch.tensor([2.0, 1.0, 1.0, 1.0], dtype=torch.float64))
    for target, expected in (
        (MetaTensor(label, affine=affine), 6.0),
        (MetaTensor(label, affine=affine, meta={"spacing_mm": (2.0, 1.0, 1.0)}), 6.0),
        (MetaTensor(label, affine=torch.eye(4)), 3.0),
        (label, 3.0),
    ):
        metric = VolumeScores(1, "hd95")
        metric([pred], [target])
        assert metric.aggregate().item() == expected


def test_published_protocols_score_logits_on_their_own_grids():
    torch.manual_seed(0)
    logits = torch.nn.functional.interpolate(torch.randn(2, 2, 8, 8), (64, 64), mode="bilinear")
    label = (torch.rand(2, 1, 48, 60) > 0.5).long()
    for protocol in ("aisam", "autosam", "blosam", "transunet"):
        metric = VolumeScores(1, protocol=protocol, logits=True)
        metric(logits, label)
        assert metric.get_buffer().shape == (2, 1)
        assert 0.2 < metric.aggregate().item() < 0.8


def test_volumes_of_logits_keep_their_slices_last():
    label = torch.zeros(1, 20, 24, 3, dtype=torch.long)
    label[0, 5:15, 5:15, 1:] = 1
    metric = VolumeScores(1, "hd95", "transunet", logits=True)
    metric([one_hot(label)], [label])
    assert metric.aggregate().item() == 0.0


def test_an_evaluator_prints_the_strict_dice_and_writes_the_report(tmp_path):
    batches = [[HALF, EMPTY], [HALF]]
    labels = [[LABEL, LABEL], [EMPTY]]

    def step(engine, batch):
        place = batch["place"]
        return [
            {"pred": pred, "label": label, "case_id": f"{place}-{index}"}
            for index, (pred, label) in enumerate(zip(batches[place], labels[place], strict=True))
        ]

    engine = Engine(step)
    engine.state.metric_details = {}
    StrictDiceHandler(1).attach(engine, "val_dice")
    VolumeScoresHandler(1, "hd95", "transunet").attach(engine, "hd95")
    ReportSaver(tmp_path, {"1": "lesion"}).attach(engine)
    engine.run([{"place": 0}, {"place": 1}])
    assert engine.state.metrics["val_dice"] == pytest.approx(DICE / 3)
    assert engine.state.metric_details["val_dice"].shape == (3, 1)
    rows = list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))
    assert [row["outcome"] for row in rows] == ["scored", "missed", "false"]
    assert np.mean([float(row["dice"]) for row in rows]) == pytest.approx(DICE / 3, abs=1e-6)
    engine.run([{"place": 1}])
    assert len(list(csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8")))) == 1


def test_maps_that_are_no_classes_are_refused():
    with pytest.raises(ValueError, match="maps must have 1 channel or 2"):
        StrictDice(1)(torch.zeros(1, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="fractions"):
        StrictDice(1)(torch.full((1, 1, 4, 4), 0.3), torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="need labels"):
        StrictDice(1)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="metric must be one of dice"):
        VolumeScores(1, "hd95", "blosam")
    with pytest.raises(ValueError, match="scored case before"):
        StrictDice(1).aggregate()
