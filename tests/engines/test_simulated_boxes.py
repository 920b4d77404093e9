import torch

from amsam_monai.engines import SimulatedBoxes


def test_some_images_have_no_box_and_absent_classes_never():
    torch.manual_seed(0)
    label = torch.zeros(400, 1, 16, 16, dtype=torch.long)
    label[:, :, 4:8, 4:12] = 1
    boxes = SimulatedBoxes(2, mean_iou=0.9, p_drop=0.2, p_none=0.5)(label)
    assert boxes.shape == (400, 2, 4)
    assert boxes[:, 1].isnan().all()
    assert abs(boxes[:, 0].isnan().any(-1).float().mean() - 0.6) < 0.06  # 0.5 + 0.5 * 0.2


def test_images_without_a_box_lose_those_of_all_classes():
    torch.manual_seed(0)
    label = torch.zeros(100, 1, 16, 16, dtype=torch.long)
    label[..., :8, :], label[..., 8:, :] = 1, 2
    absent = SimulatedBoxes(2, p_drop=0.0, p_none=0.5)(label).isnan().any(-1)
    assert torch.equal(absent[:, 0], absent[:, 1])
    assert 30 < absent[:, 0].sum() < 70
