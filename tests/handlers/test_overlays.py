import numpy as np
import pytest
import torch
from monai.engines import SupervisedEvaluator
from PIL import Image
from torch import nn

from amsam_monai.handlers import OverlaySaver, draw_overlay
from amsam_monai.handlers.overlays import COLOURS
from amsam_monai.networks.prompts import Prompts, Segmentation

SQUARE = torch.zeros(1, 32, 32)
SQUARE[:, 8:24, 8:24] = 1


def has_colour(picture, colour):
    return bool((np.asarray(picture) == colour).all(-1).any())


def test_label_is_white_and_prediction_has_its_class_colour():
    pred = torch.stack([1 - SQUARE[0], SQUARE[0]]) * 8  # logits, another size than the picture
    picture = draw_overlay(torch.full((3, 32, 32), 0.5), label=SQUARE, pred=pred, side=128)
    assert picture.size == (128, 128)
    assert has_colour(picture, (255, 255, 255))
    alone = draw_overlay(torch.full((3, 32, 32), 0.5), pred=pred, side=128)
    assert has_colour(alone, COLOURS[0])
    assert not has_colour(alone, (255, 255, 255))


def test_the_outline_lies_on_the_border_of_the_label():
    picture = np.asarray(draw_overlay(torch.full((1, 32, 32), 0.5), label=SQUARE, side=128))
    rows, columns = np.nonzero((picture == 255).all(-1))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32, 95, 32, 95)


def test_an_image_keeps_its_shape():
    assert draw_overlay(torch.zeros(3, 10, 20), side=100).size == (100, 50)


def test_ignored_pixels_have_no_outline():
    label = torch.full((1, 32, 32), 255)
    assert not has_colour(draw_overlay(torch.zeros(3, 32, 32), label=label, side=64), (255, 255, 255))


def test_boxes_and_points_are_drawn_where_they_are_and_nan_is_left_out():
    box = torch.tensor([[8.0, 8.0, 24.0, 24.0], [float("nan")] * 4])
    points = torch.tensor([[[16.0, 16.0]], [[float("nan")] * 2]])
    picture = draw_overlay(torch.zeros(3, 32, 32), box_xyxy=box, points_xy=points, side=128)
    pixels = np.asarray(picture)
    assert tuple(pixels[32, 64]) == COLOURS[0]  # upper edge, y = 8 * 4
    assert tuple(pixels[66, 66]) == COLOURS[0]  # the point, 16.5 * 4
    assert not has_colour(picture, COLOURS[1])


def test_a_batch_as_image_is_refused():
    with pytest.raises(ValueError, match=r"image must have shape \(1 or 3, H, W\)"):
        draw_overlay(torch.zeros(2, 3, 8, 8))


class Boxed(nn.Module):
    """A network that prompts itself with a fixed box."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image):
        return torch.cat([0 * image[:, :1], image[:, :1] * self.scale], 1)

    def segment(self, image, embedding=None):
        return Segmentation(self(image), Prompts(box_xyxy=torch.tensor([[[2.0, 2.0, 6.0, 6.0]]])))


def run(folder, batches, **kwargs):
    network = Boxed()
    handler = OverlaySaver(folder, **kwargs, network=network if kwargs.pop("prompted", False) else None)
    SupervisedEvaluator(device="cpu", val_data_loader=batches, network=network, val_handlers=[handler]).run()


def batches(count):
    ids = [f"case/{index}" for index in range(count)]
    return [{"image": torch.zeros(1, 3, 8, 8), "label": torch.ones(1, 1, 8, 8), "case_id": [name]} for name in ids]


def test_the_first_cases_are_written_by_their_id(tmp_path):
    run(tmp_path, batches(3), cases=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case_0.png", "case_1.png"]


def test_a_second_run_writes_the_same_cases_again(tmp_path):
    network, handler = Boxed(), OverlaySaver(tmp_path, cases=1)
    engine = SupervisedEvaluator(device="cpu", val_data_loader=batches(2), network=network, val_handlers=[handler])
    engine.run(1)
    (tmp_path / "case_0.png").unlink()
    engine.run(2)
    assert [path.name for path in tmp_path.iterdir()] == ["case_0.png"]


def test_the_network_s_own_box_is_drawn(tmp_path):
    network = Boxed()
    handler = OverlaySaver(tmp_path, network=network, side=64)
    SupervisedEvaluator(device="cpu", val_data_loader=batches(1), network=network, val_handlers=[handler]).run()
    assert has_colour(Image.open(tmp_path / "case_0.png"), COLOURS[0])


def test_a_network_in_training_keeps_its_statistics(tmp_path):
    class Normed(Boxed):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image):
            return super().forward(self.norm(image))

    network = Normed().train()
    samples = [{**batch, "image": batch["image"] + 3} for batch in batches(2)]
    handler = OverlaySaver(tmp_path, network=network)
    SupervisedEvaluator(device="cpu", val_data_loader=samples, network=network, val_handlers=[handler]).run()
    assert network.training
    assert network.norm.running_mean.tolist() == [0, 0, 0]
