import pytest
import torch
from monai.data import MetaTensor
from torch import nn

from amsam_monai.engines import LowResLoss, PrepareSystemBatch
from amsam_monai.framing import SquareFrame


def test_everything_a_system_takes_is_handed_over():
    batch = {
        "image": torch.rand(2, 3, 8, 8),
        "label": torch.zeros(2, 1, 8, 8),
        "embedding": torch.rand(2, 256, 2, 2).half(),
        "box": torch.rand(2, 1, 4),
        "points": torch.rand(2, 1, 3, 2),
        "point_labels": torch.ones(2, 1, 3),
        "case_id": ["a", "b"],
    }
    image, label, args, kwargs = PrepareSystemBatch(low_res=True)(batch, "cpu")
    assert image.equal(batch["image"])
    assert label.equal(batch["label"])
    assert args == ()
    assert sorted(kwargs) == ["embedding", "low_res", "prompts"]
    assert kwargs["low_res"] is True
    assert kwargs["embedding"].dtype == torch.float32
    assert kwargs["prompts"].box_xyxy.equal(batch["box"])
    assert kwargs["prompts"].points_xy.equal(batch["points"])
    assert kwargs["prompts"].point_labels.equal(batch["point_labels"])


def test_an_image_alone_is_enough():
    _, label, _, kwargs = PrepareSystemBatch()({"image": torch.rand(1, 3, 8, 8)}, "cpu")
    assert label is None
    assert kwargs == {"low_res": False}


def test_what_is_not_used_is_left_out():
    batch = {"image": torch.rand(1, 3, 8, 8), "box": torch.rand(1, 1, 4), "embedding": torch.rand(1, 256, 2, 2)}
    assert sorted(PrepareSystemBatch(use=["embedding"])(batch, "cpu")[3]) == ["embedding", "low_res"]


def test_meta_is_kept_where_a_prediction_will_be_written():
    batch = {"image": MetaTensor(torch.rand(1, 3, 8, 8))}
    assert isinstance(PrepareSystemBatch()(batch, "cpu")[0], MetaTensor)
    assert not isinstance(PrepareSystemBatch(low_res=True)(batch, "cpu")[0], MetaTensor)


def test_refusals_say_what_is_wrong():
    with pytest.raises(ValueError, match="use must be among"):
        PrepareSystemBatch(use=["boxes"])
    with pytest.raises(TypeError, match="batch must be a dictionary"):
        PrepareSystemBatch()([torch.zeros(1)], "cpu")
    with pytest.raises(ValueError, match="batch must have the key 'image'"):
        PrepareSystemBatch()({"pixels": torch.zeros(1)}, "cpu")


class Seen(nn.Module):
    """A loss that gives the label it gets."""

    def forward(self, logits, label):
        return label


def test_the_label_is_sampled_on_the_grid_of_the_logits():
    label = torch.arange(16 * 16).reshape(1, 1, 16, 16) % 2
    label[..., :8, :] = 3
    seen = LowResLoss(Seen(), image_size=16)(torch.zeros(1, 2, 4, 4), label)
    assert seen.shape == (1, 1, 4, 4)
    assert (seen[..., :2, :] == 3).all()
    assert (seen[..., 2:, :] == 0).all()


def test_padding_is_ignored_and_the_crop_is_the_system_s():
    label = torch.ones(1, 1, 9, 16, dtype=torch.long)
    frame = SquareFrame(9, 16, 16)
    logits = frame.crop(torch.zeros(1, 2, 8, 8))  # ceil(9 / 2) = 5 rows
    seen = LowResLoss(Seen(), image_size=16)(logits, label)
    assert seen.shape[-2:] == logits.shape[-2:] == (5, 8)
    assert (seen[..., :4, :] == 1).all()
    assert (seen[..., 4, :] == 255).all()  # its centre, row 9 of the square, lies in the padding


def test_a_stretched_image_fills_the_square():
    label = torch.ones(1, 1, 9, 16, dtype=torch.long)
    assert (LowResLoss(Seen(), image_size=16, resize="stretch")(torch.zeros(1, 2, 8, 8), label) == 1).all()


def test_logits_of_another_frame_are_refused():
    with pytest.raises(ValueError, match="ask the network for low_res"):
        LowResLoss(Seen(), image_size=16)(torch.zeros(1, 2, 9, 16), torch.ones(1, 1, 4, 16))


def test_without_an_image_size_the_label_is_resized_to_the_logits():
    label = torch.arange(4).reshape(1, 1, 2, 2).float().repeat_interleave(4, -1).repeat_interleave(4, -2)
    seen = LowResLoss(Seen())(torch.zeros(1, 2, 2, 2), label)
    assert seen.flatten().tolist() == [0, 1, 2, 3]


def test_classes_of_the_label_are_told():
    label = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    label[0, 0, 1, 1], label[1, 0, 0, 0] = 2, 1
    arguments = PrepareSystemBatch(presence=3, extras=True)({"image": torch.rand(2, 3, 4, 4), "label": label})[3]
    assert arguments["prompts"].present.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert arguments["extras"] is True
