"""A data set of one's own is one short file: pictures in folders, and volumes that a JSON file lists."""

import json

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.load import load_bundle
from amsam_monai.bundles.model_file import read_model
from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import NANO
from tests.docs.pages import DOCS, blocks

POLYPS = next(block.text for block in blocks(DOCS / "extend.md") if block.language == "yaml")  # as the page has it
HIPPOCAMPUS = """\
# Hippocampus: MR volumes of one side each, in a JSON file of pairs
name: hippocampus_segmentation
method: amsam
images: volumes
overlays: [bilevel_train]
words: {title: Hippocampus, scans: MR volumes, layout: dataset.json beside its volumes, modality: MR}
train.yaml:
  settings#classes: {anterior: 1, posterior: 2}
  settings#intensity: {mode: percentile}
  settings#label_values: own
  shots: 2
  val: 1
  datalist: {_target_: amsam_monai.data.datasets.own.own_datalist, root: "$@dataset_dir + '/dataset.json'"}
"""


def run(root, *configs, **overrides):
    workflow = ConfigWorkflow(
        config_file=[str(root / "configs" / f"{name}.yaml") for name in configs],
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(root),
        **overrides,
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def built(recipe, folder):
    assert 8 <= len(recipe.splitlines()) <= 25
    (folder / "own.yaml").write_text(recipe, encoding="utf-8")
    return build_bundle(folder / "own.yaml", folder / "bundle")


@pytest.fixture
def polyps(folder):
    list(write_phantoms("isic", folder / "data", cases=4, side=48))
    for mask in (folder / "data" / "labels").iterdir():
        mask.rename(mask.with_name(mask.name.replace("_segmentation", "")))
    return folder / "data"


@pytest.fixture
def hippocampi(folder):
    """Volumes with two parts, and the file that lists them."""
    data, pairs = folder / "data", []
    data.mkdir()
    for number in range(4):
        label = np.zeros((24, 24, 4), np.uint8)
        label[4 + number : 12, 6:16], label[12:20, 6:16] = 1, 2
        image = (label * 60 + 20).astype(np.int16)
        for kind, array in (("image", image), ("label", label)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 3, 1])), data / f"{kind}{number}.nii.gz")
        pairs.append({"image": f"image{number}.nii.gz", "label": f"label{number}.nii.gz"})
    (data / "dataset.json").write_text(json.dumps(pairs), encoding="utf-8")
    return data


def test_pictures_in_folders_train_evaluate_and_infer(polyps, folder):
    root = built(POLYPS, folder)
    small = {**NANO, "settings#arguments#backbone_weights": None, "max_epochs": 1, "views": 1, "batch_size": 1}
    run(root, "train", **small, dataset_dir=str(polyps))
    assert read_model(root / "models" / "model.pt").made["recipe"] == {
        "name": "our_polyps_segmentation",
        "version": "0.2.0",
    }
    run(root, "train", "evaluate", **small, dataset_dir=str(polyps))
    assert (root / "eval" / "scores" / "report.html").is_file()
    run(root, "inference", dataset_dir=str(polyps / "images"), output_dir=str(folder / "out"))
    masks = sorted((folder / "out").glob("*.png"))
    assert len(masks) == 4
    images = {"dataset_dir": str(polyps / "images"), "output_dir": str(folder / "trt")}
    run(root, "inference", "inference_trt", **images)  # without TensorRT nothing is compiled
    assert [(folder / "trt" / mask.name).read_bytes() for mask in masks] == [mask.read_bytes() for mask in masks]


def test_volumes_in_a_json_of_pairs_train_and_infer(hippocampi, folder):
    root = built(HIPPOCAMPUS, folder)
    small = {**NANO, "settings#detector": None, "max_epochs": 1, "steps_per_epoch": 1}
    run(root, "train", **small, dataset_dir=str(hippocampi))
    loaded = load_bundle(root, device="cpu")
    assert loaded.labels == {1: "anterior", 2: "posterior"}
    assert loaded.settings.label_values == "own"
    assert loaded.segmenter()(hippocampi / "image0.nii.gz").label.shape == (24, 24, 4)
