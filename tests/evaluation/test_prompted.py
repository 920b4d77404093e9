"""Kinds of prompts simulated from a label, and volume scores under them."""

from functools import partial

import numpy as np
import pytest
import torch

from amsam_monai.evaluation.prompting.prompted import (
    click_gain,
    missed_middle,
    random_points,
    run_one_mask_a_box,
    run_settings,
    true_boxes,
    true_presence,
)
from amsam_monai.networks.prompts import Segmentation
from amsam_monai.networks.prompts.class_prompts import ClassPrompts


class Painter:
    """A network whose mask of class k is a square about each of its positive points; else what it was told to say."""

    num_classes = 2

    def __init__(self, automatic):
        self.automatic = automatic  # (H, W) class indices

    def encode(self, image):
        return torch.zeros(1)

    def segment(self, image, prompts=None, embedding=None):
        labels = self.automatic.clone()
        if prompts is not None and prompts.points_xy is not None:
            for k in range(2):
                for x, y in prompts.points_xy[0, k][prompts.point_labels[0, k] > 0].nan_to_num(-9).long().tolist():
                    if x >= 0:
                        labels[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = k + 1
        logits = torch.nn.functional.one_hot(labels, 3).movedim(-1, 0)[None].float()
        xy = torch.tensor([[[[5.0, 5.0], [0.0, 0.0]]] * 2]).reshape(1, 2, 2, 2)
        used = ClassPrompts(xy, torch.tensor([[[1.0, 0.0]] * 2]))
        return Segmentation(logits, used, torch.full((1, 2), 0.9), torch.full((1, 2), 0.8))


@pytest.fixture
def label():
    label = torch.zeros(1, 20, 20, dtype=torch.uint8)
    label[0, 4:8, 4:8] = 1
    label[0, 12:18, 10:16] = 2
    return label


def slices(label, names=("a_slice000", "a_slice001")):
    return [{"image": torch.rand(1, 20, 20), "label": label, "case_id": name} for name in names]


def test_dice_is_that_of_the_volume(label):
    half = torch.zeros(20, 20, dtype=torch.long)
    half[4:8, 4:6] = 1
    prompted = run_settings(Painter(half), slices(label), {"automatic": lambda *_: None})
    scores = prompted.volume_dice("automatic")
    assert scores[1]["a"] == pytest.approx(2 * 8 / (8 + 16))
    assert scores[2]["a"] == 0.0


def test_points_inside_are_counted_for_their_own_class(label):
    answers = run_settings(Painter(label[0].long()), slices(label), {"automatic": lambda *_: None}).answers["automatic"]
    assert [answer.points_inside for answer in answers[:2]] == [1.0, 0.0]
    assert answers[0].quality == pytest.approx(0.8)


def test_true_prompts_come_from_the_label(label):
    assert true_presence(None, label[None], 0, classes=3).present.tolist() == [[1, 1, 0]]
    boxes = true_boxes(None, label[None], 0, classes=3)
    assert boxes.box_xyxy[0, 0].tolist() == [4, 4, 8, 8]
    assert boxes.box_xyxy[0, 2].isnan().all()
    assert boxes.present.tolist() == [[1, 1, 0]]


def test_random_points_lie_in_their_class_and_background_is_against_all(label):
    prompts = random_points(None, label[None], 4, classes=3, count=2)
    assert prompts.points_xy.shape == (1, 3, 4, 2)
    for k in (0, 1):
        own = prompts.points_xy[0, k][prompts.point_labels[0, k] > 0].long()
        assert (label[0, own[:, 1], own[:, 0]] == k + 1).all()
        other = prompts.points_xy[0, k][prompts.point_labels[0, k] == 0].long()
        assert (label[0, other[:, 1], other[:, 0]] == 0).all()
    assert prompts.points_xy[0, 2, :2].isnan().all()
    assert prompts.automatic is True
    assert random_points(None, label[None], 4, classes=3, alone=True).automatic is False


def test_the_middle_of_what_is_missed_is_clicked(label):
    mask = label[0].numpy() == 2
    x, y = missed_middle(np.zeros_like(mask), mask)
    assert mask[y, x]
    assert abs(x - 12.5) <= 1
    assert abs(y - 14.5) <= 1
    assert missed_middle(mask, mask) is None


def test_a_click_raises_the_dice_of_a_missed_object(label):
    nothing = torch.zeros(20, 20, dtype=torch.long)
    given = slices(label)
    prompted = run_settings(Painter(nothing), given, {"automatic": lambda *_: None})
    before, after = click_gain(Painter(nothing), given, prompted.answers["automatic"])
    assert before == 0.0
    assert after > 0.5


def test_settings_may_be_partial_functions(label):
    settings = {"random": partial(random_points, classes=2, count=4)}
    scores = run_settings(Painter(torch.zeros(20, 20, dtype=torch.long)), slices(label), settings).volume_dice("random")
    assert scores[1]["a"] > 0.4


class BoxFiller:
    """A network of one class whose mask is its box."""

    def encode(self, image):
        return None

    def segment(self, image, prompts=None, embedding=None):
        x1, y1, x2, y2 = prompts.box_xyxy[0, 0].long().tolist()
        logits = torch.full((1, 2, *image.shape[-2:]), -1.0)
        logits[:, 1, y1:y2, x1:x2] = 1.0
        return Segmentation(logits, prompts)


def test_one_mask_a_box_scores_each_class_by_itself(label):
    label = label.clone()
    label[0, 5, 5] = 2  # class 2 reaches into class 1: its box covers much that it is not
    scores = run_one_mask_a_box(BoxFiller(), slices(label), 3, "box").volume_dice("box")
    assert scores[1]["a"] == pytest.approx(2 * 15 / (15 + 16))
    assert scores[2]["a"] < 0.7
    assert np.isnan(scores[3]["a"])
