"""CE + Dice, over each sample or over the batch."""

import pytest
import torch

from amsam_monai.losses import CEDiceLoss


def sure(label):
    """Logits that give a label's class, without doubt."""
    return 100.0 * torch.nn.functional.one_hot(label[:, 0], 2).movedim(-1, 1).float()


def test_dice_over_the_batch_is_that_of_one_long_image():
    logits, label = torch.randn(3, 2, 4, 5), torch.randint(0, 2, (3, 1, 4, 5))
    loss = CEDiceLoss(dice_weight=1.0, batch=True)(logits, label)
    long = [torch.cat(list(part), dim=1)[None] for part in (logits, label)]
    torch.testing.assert_close(loss, CEDiceLoss(dice_weight=1.0)(*long))


def test_a_sample_without_a_class_hides_no_mistake_in_the_batch():
    label = torch.zeros(2, 1, 4, 4, dtype=torch.long)
    label[0, 0, :2] = 1
    found = label.clone()
    found[1, 0, 0, 0] = 1  # one pixel of the empty sample
    each, batch = (CEDiceLoss(dice_weight=1.0, batch=over)(sure(found), label).item() for over in (False, True))
    missed = 1 - 2 * 15 / (15 + 16)  # of the background
    assert each == pytest.approx((0 + 0 + missed + 1) / 4, abs=1e-4)
    assert batch == pytest.approx((1 - 2 * 8 / 17 + 1 - 2 * 23 / 47) / 2, abs=1e-4)
