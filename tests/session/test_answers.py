"""Short ways of a click that give what the long ones gave."""

import numpy as np
import pytest
import torch

from amsam_monai.networks.prompts import Prompts, Segmentation
from amsam_monai.session.answers import with_parts
from amsam_monai.session.image import SessionImage, load_source
from amsam_monai.session.open_image import largest
from amsam_monai.transforms.intensity import Intensity


def test_the_largest_class_is_the_first_of_equal_ones():
    logits = torch.randint(0, 3, (4, 20, 30)).float()
    assert torch.equal(largest(logits), logits.max(0).indices.to(torch.uint8))


def test_parts_of_an_answer_leave_the_other_classes_as_they_were():
    whole, part = (Segmentation(torch.rand(1, 4, 5, 6), Prompts(), quality=torch.rand(1, 3)) for _ in range(2))
    before, fresh = whole.logits.clone(), part.logits.clone()
    part.logits[:, [0, 1, 3]] = torch.nan  # not asked
    mixed = with_parts(whole, part, [2])
    assert torch.equal(mixed.logits, torch.stack([before[:, 0], before[:, 1], fresh[:, 2], before[:, 3]], 1))
    assert torch.equal(mixed.quality[0], torch.stack([whole.quality[0, 0], part.quality[0, 1], whole.quality[0, 2]]))
    assert torch.equal(whole.logits, before)


@pytest.mark.parametrize("axis", [0, 1, 2, "axial", "coronal", "sagittal"])
def test_a_slice_of_the_label_map_lies_together_and_is_the_volumes(axis):
    affine = np.diag([-1.0, 2.0, -3.0, 1.0])
    source = load_source(np.arange(60, dtype=np.int16).reshape(3, 4, 5), affine)
    image = SessionImage(source, Intensity(mode="min_max"), {"axis": axis})
    label = image.no_label()
    assert label.shape == (3, 4, 5)
    plane = image.plane(label, 1)
    plane[...] = 1
    assert label.take(1, image.axis).all()
    assert label.sum() == plane.size
    first, last = np.lib.array_utils.byte_bounds(plane)
    assert last - first == plane.size
