import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.engines import PrepareSystemBatch


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


def test_the_network_knows_which_classes_the_label_has():
    label = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    label[0, 0, 1, 1], label[1, 0, 0, 0] = 2, 1
    arguments = PrepareSystemBatch(presence=3)({"image": torch.rand(2, 3, 4, 4), "label": label})[3]
    assert arguments["prompts"].present.tolist() == [[0, 1, 0], [1, 0, 0]]
