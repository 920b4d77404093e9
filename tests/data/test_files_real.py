"""Every kind of file in the real data sets reads, with what their README says of them."""

import pytest

from amsam_monai.data.files.images import check_same_geometry, list_inputs, read_image, read_label

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("images", "labels", "kind", "known_spacing"),
    [
        ("acdc/training/patient001", "acdc/training/patient001", "volume", False),
        ("synapse/img", "synapse/label", "volume", True),
        ("isic/images", "isic/labels", "image", False),
        ("kvasir/images", "kvasir/labels", "image", False),
        ("glas/images", "glas/labels", "image", False),
        ("human/images", "human/labels", "image", False),
    ],
)
def test_real_images_and_labels_read(images, labels, kind, known_spacing, real_data):
    pictures = [path for path in list_inputs(real_data / images) if "_gt" not in path.name][:3]
    masks = [path for path in list_inputs(real_data / labels) if images != labels or "_gt" in path.name]
    assert len(pictures) >= 2
    for path in pictures:
        image = read_image(path)
        number = "".join(filter(str.isdigit, path.name.split(".")[0]))
        mask = next(mask for mask in masks if "".join(filter(str.isdigit, mask.name.split(".")[0])) == number)
        label = read_label(mask)
        assert image.kind == label.kind == kind
        assert (image.spacing_mm is not None) == known_spacing
        assert label.array.dtype.kind in "iu"
        if "human" not in images:  # whose masks may be smaller than their image
            check_same_geometry(image, label)
