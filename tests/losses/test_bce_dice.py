import math

import pytest
import torch

from amsam_monai.losses import BCEDiceLoss


def two_channels(probability):
    """Logits [0, z] whose softmax gives the foreground probability."""
    z = torch.logit(torch.as_tensor(probability, dtype=torch.float64))
    return torch.stack([torch.zeros_like(z), z])[None]


def test_known_answer_of_two_pixels():
    logits = two_channels([[0.8, 0.4]])
    label = torch.tensor([[[[1, 0]]]])
    bce = -(math.log(0.8) + math.log(0.6)) / 2
    dice = 1 - (2 * 0.8 + 1) / (0.8 + 0.4 + 1 + 1)  # TP 0.8, FN 0.2, FP 0.4: 2TP + FN + FP = 2.2
    assert BCEDiceLoss()(logits, label).item() == pytest.approx(bce + dice, abs=1e-6)


def test_the_published_code_adds_two():
    logits, label = two_channels([[0.8, 0.4]]), torch.tensor([[[[1, 0]]]])
    tp, fn, fp = 0.8, 0.2, 0.4
    published = 1 - (tp + 1) / (tp + 0.5 * fn + 0.5 * fp + 1)
    bce = -(math.log(0.8) + math.log(0.6)) / 2
    assert BCEDiceLoss(smooth=2)(logits, label).item() == pytest.approx(bce + published, abs=1e-6)


def test_minmax_stretches_each_map_to_the_unit_interval():
    logits = torch.zeros(1, 2, 1, 3)
    logits[0, 1] = torch.tensor([[-4.0, 0.0, 4.0]])
    label = torch.tensor([[[[0, 1, 1]]]])
    bce = -math.log(0.5) / 3
    dice = 1 - (2 * 1.5 + 1) / (1.5 + 2 + 1)
    assert BCEDiceLoss(probability="minmax")(logits, label).item() == pytest.approx(bce + dice, abs=1e-5)


def test_pixels_that_are_not_scored_change_nothing():
    logits = torch.randn(1, 2, 4, 4)
    label = torch.randint(0, 2, (1, 1, 4, 4))
    whole = BCEDiceLoss()(logits, label)
    wider = torch.cat([logits, torch.randn(1, 2, 4, 3) * 9], dim=3)
    ignored = torch.cat([label, torch.full((1, 1, 4, 3), 255)], dim=3)
    torch.testing.assert_close(BCEDiceLoss()(wider, ignored), whole)


def test_the_batch_is_the_mean_of_its_samples():
    logits, label = torch.randn(3, 2, 5, 5), torch.randint(0, 2, (3, 1, 5, 5))
    alone = [BCEDiceLoss()(logits[i : i + 1], label[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(BCEDiceLoss()(logits, label), torch.stack(alone).mean())


def test_a_label_of_another_size_is_brought_to_the_logits():
    label = torch.zeros(1, 1, 8, 8, dtype=torch.long)
    label[..., 4:] = 1
    logits = torch.randn(1, 2, 4, 4)
    torch.testing.assert_close(BCEDiceLoss()(logits, label), BCEDiceLoss()(logits, label[..., ::2, ::2]))


@pytest.mark.parametrize("probability", ["sigmoid", "minmax"])
def test_an_empty_label_has_a_finite_gradient(probability):
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    BCEDiceLoss(probability=probability)(logits, torch.zeros(2, 1, 4, 4, dtype=torch.long)).backward()
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("probability", ["sigmoid", "minmax"])
def test_it_runs_under_mixed_precision(probability):
    logits = torch.randn(1, 2, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = BCEDiceLoss(probability=probability)(logits.bfloat16(), torch.ones(1, 1, 4, 4, dtype=torch.long))
    assert loss.isfinite()


def test_several_classes_are_refused():
    with pytest.raises(ValueError, match=r"logits must have shape \(B, 2, h, w\), got \(1, 4, 2, 2\).*CEDiceLoss"):
        BCEDiceLoss()(torch.zeros(1, 4, 2, 2), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize(
    ("settings", "message"), [({"smooth": -1}, "smooth must"), ({"probability": "tanh"}, "probability must")]
)
def test_settings_outside_the_list_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BCEDiceLoss(**settings)
