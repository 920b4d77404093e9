"""One answer at every door: the same image gives the same mask, voxel for voxel, wherever it is asked for."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings
from amsam_monai.cli import app
from amsam_monai.data.files.images import list_inputs, read_label
from amsam_monai.data.files.names import relative_stem
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.sam import build_sam
from amsam_monai.session.session import InteractiveSession
from tests.segment.toy import oblique

RECIPE = """\
# Own data
name: own_segmentation
method: {system}
images: {images}
words: {{title: Own data, few: a few images, layout: images/ and labels/, scans: images, modality: own}}
train.yaml:
  settings#classes: {{liver: 6, spleen: 300}}
  datalist: {{_target_: amsam_monai.data.datasets.isic_datalist, root: "@dataset_dir"}}
metadata.json:
  task: A task
  data_source: A source
"""
# What each bundle sets, so that together they have everything that a door could forget.
CASES = {
    "amsam": {
        "images": "volumes",
        "intensity": {"mode": "percentile"},
        "slices": {"flips": ["horizontal"], "batch_size": 3, "neighbours": 1},
        "largest_component": True,
        "label_values": "own",
    },
    "aisam": {
        "images": "volumes",
        "arguments": {"encoder": "frozen", "gate": False, "depth": 1},
        "intensity": {"mode": "percentile", "per": "slice"},
        "slices": {"flips": ["horizontal", "vertical"], "axis": 0},
        "largest_component": ["spleen"],
    },
    "autosam": {
        "images": "pictures",
        "intensity": {"mode": "percentile", "low": 1, "high": 98},
        "slices": {"flips": ["vertical"], "batch_size": 2},
        "label_values": "own",
    },
}


def write_bundle(folder, system, weights):
    """A bundle as the builder makes it, with a random adapter that makes itself felt."""
    case = dict(CASES[system])
    (folder / "own.yaml").write_text(RECIPE.format(system=system, images=case.pop("images")))
    root = build_bundle(folder / "own.yaml", folder / "own_segmentation")
    settings = Settings.of(
        {
            "system": system,
            "sam": {"backbone": "vit_nano", "weights": str(weights), "image_size": 64},
            "classes": {"liver": 6, "spleen": 300},
            **case,
        }
    )
    torch.manual_seed(0)
    net = build_network(settings)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    save_adapter(net, root / "models" / "model.pt", settings=settings)
    return root


def loaded(root):
    """The bundle; parts that no file holds are random, and always the same."""
    torch.manual_seed(0)
    return load_bundle(root, device="cpu")


def write_images(folder, kind):
    rng = np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    if kind == "volumes":
        for name, store in (("a", np.int16), ("sub/b", np.float64)):
            i, j, k = np.mgrid[:18, :26, :7]
            ball = (i - 8) ** 2 + (j - 11) ** 2 + 9 * (k - 3) ** 2 < 50
            voxels = (300 * ball + 20 * rng.random(ball.shape)).astype(store)
            nib.save(nib.Nifti1Image(voxels, oblique(voxels.shape, (1.0, 1.2, 4.0))), folder / f"{name}.nii.gz")
        return
    pixels = rng.integers(0, 90, (30, 44, 3)).astype(np.uint8)
    pixels[8:20, 10:30] += 120
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "sub" / "a.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + 7).save(folder / "sub" / "deep.png")
    Image.fromarray(pixels[..., 0]).save(folder / "sub" / "deep.tif")


@pytest.fixture(scope="module", params=list(CASES))
def bundle(request, tmp_path_factory):
    """A bundle of each method, its images, and the masks that `amsam segment` writes."""
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    sam = build_sam("vit_nano", image_size=64)
    torch.save(sam.state_dict(), folder / "sam.pth")
    root = write_bundle(folder, request.param, folder / "sam.pth")
    write_images(folder / "images", CASES[request.param]["images"])
    torch.manual_seed(0)
    done = CliRunner().invoke(
        app, ["segment", str(folder / "images"), str(folder / "cli"), "--bundle", str(root), "--device", "cpu"]
    )
    assert done.exit_code == 0, done.output
    return root


def expected(root):
    """(image, mask of the command line, its stem) of every image."""
    images = root.parent / "images"
    for path in list_inputs(images):
        stem = json.loads((root.parent / "cli" / "segment_report.json").read_text())["cases"]
        written = next(case["output"] for case in stem if case["input"] == str(path))
        yield path, read_label(written).array, relative_stem(path, images)


def test_the_masks_tell_doors_apart(bundle):
    """Both classes are found, and what the bundle sets changes the masks; else equality would say nothing."""
    own = loaded(bundle)
    masks = {path: mask for path, mask, _ in expected(bundle)}
    values = {6, 300} if own.settings.label_values == "own" else {1, 2}
    assert values <= set(np.unique(np.concatenate([mask.ravel() for mask in masks.values()])).tolist())
    for change in ({"slices": {**own.slices, "flips": ()}}, {"largest_component": False}):
        if change == {"largest_component": own.largest_component}:
            continue
        others = own.segmenter(**change)
        assert any((others(path).written() != mask).any() for path, mask in masks.items()), change


def test_python_gives_the_masks_of_the_command_line(bundle):
    segmenter = loaded(bundle).segmenter()
    for path, mask, _ in expected(bundle):
        np.testing.assert_array_equal(segmenter(path).written(), mask, err_msg=path.name)


def test_a_session_gives_the_masks_of_the_command_line(bundle, tmp_path):
    session = InteractiveSession.of_bundle(loaded(bundle))
    for path, mask, _ in expected(bundle):
        image = session.open(path)
        session.segment("all")
        saved = session.save(tmp_path / f"mask{'.nii.gz' if image.view else '.png'}")
        np.testing.assert_array_equal(read_label(saved).array, mask, err_msg=path.name)
        again = InteractiveSession.of_bundle(loaded(bundle))
        again.open(path, state=saved)
        np.testing.assert_array_equal(again.label, session.label)


def test_a_slice_alone_has_the_mask_that_it_has_among_others(bundle):
    session = InteractiveSession.of_bundle(loaded(bundle), largest_component=False)
    segmenter = loaded(bundle).segmenter(largest_component=False)
    for path, _, _ in expected(bundle):
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
    torch.manual_seed(0)
    workflow.initialize()
    workflow.run()
    workflow.finalize()
    command_line = bundle.parent / "cli"
    names = sorted(path.relative_to(command_line) for path in command_line.rglob("*.[np][in][ig]*"))
    maps = [path for path in tmp_path.rglob("*.[np][in][ig]*") if "overlays" not in path.parts]
    assert sorted(path.relative_to(tmp_path) for path in maps) == names
    for name in names:
        np.testing.assert_array_equal(
            read_label(tmp_path / name).array, read_label(command_line / name).array, err_msg=str(name)
        )
