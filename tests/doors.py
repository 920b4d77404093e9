"""A bundle of each method, images, and the masks of `amsam segment`, with which every door is compared.

Without $AMSAM_DOORS each test module makes its own. With it, `tests/test_doors.py` writes them into that folder, and
the tests of other environments (MONAI Label's, the page's) read them there.
"""

import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.settings import Settings
from amsam_monai.cli import app
from amsam_monai.data.files.images import read_label
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.sam import build_sam
from tests.segment.toy import oblique

RECIPE = """\
# Own data
name: {name}
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
        "arguments": {"backbone": "efficientnet_lite0"},
        "intensity": {"mode": "percentile", "low": 1, "high": 98},
        "slices": {"flips": ["vertical"], "batch_size": 2},
        "label_values": "own",
    },
}


def prepared(system: str, folder: Path, *, first: bool = False) -> Path:
    """The bundle of a method, with images and masks beside it.

    Args:
        system: a key of CASES.
        folder: an empty one, used where $AMSAM_DOORS is not set.
        first: write what is in $AMSAM_DOORS anew, once in a run of the tests.
    """
    if not (shared := os.environ.get("AMSAM_DOORS")):
        return write_case(system, folder)
    folder = Path(shared).resolve() / system
    folder.parent.mkdir(parents=True, exist_ok=True)
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    with FileLock(folder.parent / f"{system}.lock"):
        made = folder / "run"
        if first and not (made.is_file() and made.read_text(encoding="utf-8") == run):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            write_case(system, folder)
            made.write_text(run, encoding="utf-8")
        if not made.is_file():
            pytest.fail(f"{folder} holds no masks; run tests/test_doors.py with this AMSAM_DOORS first.")
    return folder / name_of(system)


def write_case(system: str, folder: Path, noise: float = 0.2) -> Path:
    """Bundle, images, and the masks of `amsam segment` in folder/cli; gives the bundle."""
    root = write_bundle(folder, system, noise)
    write_images(folder / "images", CASES[system]["images"])
    command = ["segment", str(folder / "images"), str(folder / "cli"), "--bundle", str(root), "--device", "cpu"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return root


def masks_of(root: Path) -> dict[Path, np.ndarray]:
    """The mask of the command line for every image."""
    report = json.loads((root.parent / "cli" / "segment_report.json").read_text(encoding="utf-8"))
    return {Path(case["input"]): read_label(case["output"]).array for case in report["cases"]}


def name_of(system: str) -> str:
    return f"own_{system}_segmentation"


def write_bundle(folder: Path, system: str, noise: float = 0.2) -> Path:
    """A bundle as the builder makes it, with a random adapter that makes itself felt.

    Args:
        folder: an empty one.
        system: a key of CASES.
        noise: standard deviation of what is added to each weight; much of it makes a network of its last bits.
    """
    torch.manual_seed(0)
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), folder / "sam.pth")
    case = dict(CASES[system])
    (folder / "own.yaml").write_text(
        RECIPE.format(name=name_of(system), system=system, images=case.pop("images")), encoding="utf-8"
    )
    root = build_bundle(folder / "own.yaml", folder / name_of(system))
    settings = Settings.of(
        {
            "system": system,
            "sam": {"backbone": "vit_nano", "weights": str(folder / "sam.pth"), "image_size": 64},
            "classes": {"liver": 6, "spleen": 300},
            **case,
        }
    )
    net = build_network(settings)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter.add_(noise * torch.randn_like(parameter))
    save_adapter(net, root / "models" / "model.pt", settings=settings)
    return root


def write_images(folder: Path, kind: str) -> None:
    """Volumes, oblique, of whole and broken numbers, blank at the ends; or pictures of 8 and 16 bits with namesakes."""
    rng = np.random.default_rng(0)
    (folder / "sub").mkdir(parents=True)
    if kind == "volumes":
        for name, store in (("a", np.int16), ("sub/b", np.float64)):
            i, j, k = np.mgrid[:18, :26, :7]
            ball = (i - 8) ** 2 + (j - 11) ** 2 + 9 * (k - 3) ** 2 < 50
            voxels = (300 * ball + 20 * rng.random(ball.shape)).astype(store)
            voxels[0] = voxels[..., -1] = 0  # blank slices along each axis that a case takes
            nib.save(nib.Nifti1Image(voxels, oblique(voxels.shape, (1.0, 1.2, 4.0))), folder / f"{name}.nii.gz")
        return
    pixels = rng.integers(0, 90, (30, 44, 3)).astype(np.uint8)
    pixels[8:20, 10:30] += 120
    Image.fromarray(pixels).save(folder / "a.png")
    Image.fromarray(pixels).save(folder / "sub" / "c.jpg")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 256 + 7).save(folder / "sub" / "deep.png")
    Image.fromarray(pixels[..., 0]).save(folder / "sub" / "deep.tif")
