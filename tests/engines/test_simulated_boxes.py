import pytest
import torch

from amsam_monai.engines import PrepareSystemBatch, SimulatedBoxes, SimulatedObjects


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


class TestObjects:
    """One object of a class, its box, and the label that means it."""

    PARTS = ((4, 4, 20, 30), (40, 6, 60, 16), (36, 40, 44, 60))  # x1, y1, x2, y2

    def label(self, batch=1):
        label = torch.zeros(batch, 1, 64, 64, dtype=torch.uint8)
        for x1, y1, x2, y2 in self.PARTS:
            label[..., y1:y2, x1:x2] = 1
        label[..., 50:62, 2:14] = 2
        label[..., 50:62, 50:62] = 2
        return label

    def draw(self, label, **options):
        return SimulatedObjects(2, mean_iou=1.0, **{"objects": ["all", "one"], "p_drop": 0, "p_join": 0, **options})(
            label
        )

    def test_a_box_means_its_part_alone_and_each_part_has_its_turn(self):
        torch.manual_seed(0)
        label = self.label(40)
        boxes, meant = self.draw(label)
        drawn = {tuple(box) for box in boxes[:, 0].round().tolist()}
        assert drawn == set(self.PARTS)
        for (x1, y1, x2, y2), mask in zip(boxes[:, 0].round().int().tolist(), meant[:, 0], strict=True):
            wanted = torch.zeros(64, 64, dtype=torch.bool)
            wanted[y1:y2, x1:x2] = True
            assert torch.equal(mask == 1, wanted)
        assert torch.equal(meant == 2, label == 2)  # that class is one object
        torch.testing.assert_close(boxes[:, 1], torch.tensor([2.0, 50, 62, 62]).expand(40, 4), atol=1e-3, rtol=0)
        assert torch.equal(label, self.label(40))  # left as it was

    def test_two_near_parts_may_be_one_object(self):
        torch.manual_seed(0)
        boxes, meant = self.draw(self.label(20), p_join=1)
        drawn = {tuple(box) for box in boxes[:, 0].round().tolist()}
        assert drawn <= {(4, 4, 60, 30), (36, 6, 60, 60), (4, 4, 44, 60)}
        assert ((meant == 1).flatten(1).sum(1) < (self.label() == 1).sum()).all()

    def test_without_its_box_all_of_a_class_is_meant(self):
        label = self.label(4)
        boxes, meant = self.draw(label, p_drop=1)
        assert boxes.isnan().all()
        assert torch.equal(meant, label)

    def test_specks_are_no_objects(self):
        label = self.label(20)
        label[..., 0, 63] = 1
        boxes, meant = self.draw(label, min_pixels=2)
        assert {tuple(box) for box in boxes[:, 0].round().tolist()} <= set(self.PARTS)
        assert (meant[..., 0, 63] == 1).all()

    def test_a_batch_gets_box_and_label_together(self):
        torch.manual_seed(0)
        prepare = PrepareSystemBatch(objects=SimulatedObjects(2, mean_iou=1.0, p_drop=0, p_join=0))
        _, label, _, arguments = prepare({"image": torch.rand(3, 3, 64, 64), "label": self.label(3)}, "cpu")
        boxes = SimulatedBoxes(2, mean_iou=1.0, p_drop=0)(label)  # of what is left in the label
        torch.testing.assert_close(arguments["prompts"].box_xyxy, boxes, atol=1e-2, rtol=0)
        assert ((label == 1).flatten(1).sum(1) < (self.label() == 1).sum()).all()

    def test_what_cannot_be_is_refused(self):
        with pytest.raises(ValueError, match="objects must be one, all or a word for each of 2 classes"):
            SimulatedObjects(2, objects=["all"])
        with pytest.raises(ValueError, match=r"p_join must lie in \[0, 1\], got 2"):
            SimulatedObjects(1, p_join=2)
