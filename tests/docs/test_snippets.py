"""Every block of Python on the pages runs, from top to bottom of a page, on phantoms and networks of a few weights."""

import ast
import functools
import shutil

import pytest
import torch
import yaml

from amsam_monai.data.datasets import isic_datalist
from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import BUNDLES
from tests.contract import SystemContract
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, name_of
from tests.label_app.nano_bundle import write_nano_bundle

WITH_PYTHON = [page for page in PAGES if any(block.language == "python" for block in blocks(page))]
NANO = {"backbone": "vit_nano", "weights": None, "image_size": 64}
QUICK = {
    "settings#sam": NANO,
    "settings#detector": None,
    "precision": "float32",
    "listed": None,
    "shots": 1,
    "val": 0,
    "max_epochs": 1,
    "steps_per_epoch": 1,
    "views": 1,
    "mixed_phantoms": 1,
}
SMALL_SAM = 'build_sam("vit_nano", image_size=64)'
# What a page says -> what the test runs instead: smaller networks, fewer steps, and no pretrained weights
SMALLER = {
    'build_sam("vit_t", image_size=512, weights="mobile_sam")': SMALL_SAM,
    '{"backbone": "vit_t", "image_size": 256, "weights": "mobile_sam"}': (
        '{"backbone": "vit_nano", "image_size": 64, "weights": "nano_sam.pth"}'
    ),
    'backbone_weights="efficientnet_lite0"': "backbone_weights=None",
    "AISAMLoss(image_size=512)": "AISAMLoss(image_size=64)",
    'run_training("isic_amsam_segmentation"': f'run_training("{BUNDLES}/isic_amsam_segmentation"',
    '{"shots": 8, "seed": 1}': repr(QUICK),
    "minutes=30": 'method="plain", steps=2, folds=2, side=64, sam={"backbone": "vit_nano", "weights": None}',
}


def smaller(text: str) -> str:
    return functools.reduce(lambda said, pair: said.replace(*pair), SMALLER.items(), text)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder as the pages take for granted: bundles by name, lesions, hearts, and cases of your own."""
    bundles = tmp_path / "bundles"
    heart = ("RV", "Myo", "LV")
    write_nano_bundle(
        bundles, name="isic_amsam_segmentation", labels=("lesion",), data_type="jpg", intensity={"mode": "bit_depth"}
    )
    write_nano_bundle(bundles, name="acdc_amsam_segmentation", labels=heart)
    list(write_phantoms("isic", tmp_path / "lesions", cases=2, side=512))
    list(write_phantoms("isic", tmp_path / "cases", cases=3, side=64))
    list(write_phantoms("acdc", tmp_path / "hearts", cases=1, side=160))
    next((tmp_path / "hearts").rglob("patient001_frame01.nii.gz")).rename(tmp_path / "patient001_frame01.nii.gz")
    shutil.copy(bundles / "isic_amsam_segmentation/models/nano_sam.pth", tmp_path)
    monkeypatch.setenv("AMSAM_BUNDLES", str(bundles))
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def variables() -> dict:
    """Names that pages use without making them."""
    torch.manual_seed(0)
    label = torch.zeros(1, 1, 96, 128)
    label[:, :, 20:60, 30:90] = 1
    image = torch.rand(1, 3, 96, 128)
    return {"image": image, "label": label, "cases": isic_datalist("lesions")}


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_of_a_page_runs(page, desk):
    names = variables()
    for block in blocks(page):
        if block.language == "python":
            tree = ast.parse(smaller(block.text))
            ast.increment_lineno(tree, block.line)
            exec(compile(tree, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_yaml_of_a_page_is_yaml(page):
    for block in blocks(page):
        if block.language == "yaml":
            assert yaml.safe_load(block.text) is not None


def test_what_is_made_smaller_is_on_a_page():
    text = "".join(block.text for page in WITH_PYTHON for block in blocks(page))
    assert [said for said in SMALLER if said not in text] == []


def the_new_prompter() -> type:
    """The class that docs/extend.md writes."""
    names: dict = {}
    exec(next(block.text for block in blocks(DOCS / "extend.md") if "class HeatPoint" in block.text), names)
    return names["HeatPoint"]


class TestTheNewPrompter(SystemContract):
    classes = 3

    def build(self, num_classes):
        from amsam_monai.networks.sam import build_sam

        return the_new_prompter()(build_sam("vit_nano", image_size=64), num_classes=num_classes)


def test_the_new_prompter_is_about_40_lines():
    text = next(block.text for block in blocks(DOCS / "extend.md") if "class HeatPoint" in block.text)
    assert len(text.splitlines()) <= 45


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 90
