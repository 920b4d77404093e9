"""One answer at every door: the same image gives the same mask, voxel for voxel, wherever it is asked for.

The doors of other environments: `tests/label_app/test_doors.py` and `tests/annotate/test_doors.py`.
"""

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

import amsam_monai
from amsam_monai.bundles.load import load_bundle
from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.segment.blank import blank
from amsam_monai.session.image import SessionImage
from amsam_monai.session.session import InteractiveSession
from amsam_monai.transforms.intensity import Intensity
from tests.doors import CASES, masks_of, prepared


@pytest.fixture(scope="module", params=list(CASES))
def bundle(request, tmp_path_factory):
    return prepared(request.param, tmp_path_factory.mktemp(request.param), first=True)


def test_the_masks_tell_doors_apart(bundle):
    """Both classes are found, and what the bundle sets changes the masks; else equality would say nothing."""
    own, masks = load_bundle(bundle, device="cpu"), masks_of(bundle)
    values = {6, 300} if own.settings.label_values == "own" else {1, 2}
    assert values <= set(np.unique(np.concatenate([mask.ravel() for mask in masks.values()])).tolist())
    for change in ({"slices": {**own.slices, "flips": ()}}, {"largest_component": False}):
        if change == {"largest_component": own.largest_component}:
            continue
        others = own.segmenter(**change)
        assert any((others(path).written() != mask).any() for path, mask in masks.items()), change


def test_blank_slices_are_background(bundle):
    for path, mask in masks_of(bundle).items():
        image = SessionImage(read_image(path), Intensity("min_max"), load_bundle(bundle, device="cpu").slices)
        planes = [number for number in range(image.depth) if blank(image.own(image.pixels(number)))]
        assert len(planes) == (mask.ndim == 3)  # pictures have none
        assert all(not image.plane(mask, number).any() for number in planes)


def test_python_gives_the_masks_of_the_command_line(bundle):
    model = amsam_monai.load(bundle, device="cpu")
    for path, mask in masks_of(bundle).items():
        np.testing.assert_array_equal(model.segment(path).written(), mask, err_msg=path.name)


def test_a_session_gives_the_masks_of_the_command_line(bundle, tmp_path):
    session = amsam_monai.load(bundle, device="cpu").session()
    for path, mask in masks_of(bundle).items():
        image = session.open(path)
        session.segment("all")
        saved = session.save(tmp_path / f"mask{'.nii.gz' if image.view else '.png'}")
        np.testing.assert_array_equal(read_label(saved).array, mask, err_msg=path.name)
        label = session.label.copy()
        session.open(path, state=saved)
        np.testing.assert_array_equal(session.label, label)


def test_a_slice_alone_has_the_mask_that_it_has_among_others(bundle):
    loaded = load_bundle(bundle, device="cpu")
    session = InteractiveSession.of_bundle(loaded, largest_component=False)
    segmenter = loaded.segmenter(largest_component=False)
    for path in masks_of(bundle):
        session.open(path)
        number = session.depth // 2
        plane = session.segment(number).mask
        np.testing.assert_array_equal(plane, session.image.plane(segmenter(path).label, number))


def test_monai_writes_the_files_of_the_command_line(bundle, tmp_path):
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.yaml"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(bundle),
        dataset_dir=str(bundle.parent / "images"),
        output_dir=str(tmp_path),
        device="$torch.device('cpu')",
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    maps = maps_in(tmp_path)
    expected = maps_in(bundle.parent / "cli")
    assert sorted(maps) == sorted(expected)
    for name in expected:
        np.testing.assert_array_equal(maps[name], expected[name], err_msg=str(name))


def maps_in(folder):
    """Label maps below a folder, by their path; overlays left out."""
    found = [path for ending in ("*.nii.gz", "*.png") for path in folder.rglob(ending)]
    return {path.relative_to(folder): read_label(path).array for path in found if "overlays" not in path.parts}
