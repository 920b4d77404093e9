"""Bundles that amsam-monai-bundles installed: found by name, never written to, and mended by installing them again."""

import pytest
from monai.bundle import ConfigParser

from amsam_monai.bundles.build import build_bundle
from amsam_monai.bundles.find import bundles_here, find_bundle, work_folder
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.run import run_training
from amsam_monai.data.files.atomic import check_writable
from amsam_monai.installed import installed_bundles
from amsam_monai.networks.detector.box_head import BoxHead
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.networks.detector.files import load_detector, save_detector
from tests.label_app.nano_bundle import write_nano_bundle


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The folder that the package would have in site-packages, beside its metadata."""
    site = tmp_path / "site-packages"
    about = site / "amsam_monai_bundles-9.9.0.dist-info"
    about.mkdir(parents=True)
    text = "Metadata-Version: 2.4\nName: amsam-monai-bundles\nVersion: 9.9.0\n"
    (about / "METADATA").write_text(text, encoding="utf-8")
    (site / "amsam_monai_bundles").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("AMSAM_BUNDLES", raising=False)
    return site / "amsam_monai_bundles"


def test_installed_bundles_are_found_by_name(shelf):
    root = write_nano_bundle(shelf, name="lung_segmentation")
    assert installed_bundles() == shelf
    assert find_bundle("lung_segmentation") == root
    assert root in bundles_here()


def test_without_the_package_there_is_no_such_folder(tmp_path):
    assert installed_bundles() is None


def test_a_bundle_of_one_s_own_comes_before_an_installed_one(shelf, tmp_path):
    write_nano_bundle(shelf, name="lung_segmentation")
    own = write_nano_bundle(tmp_path / "work" / "bundles", name="lung_segmentation")
    assert find_bundle("lung_segmentation") == own
    assert own in bundles_here()


def test_a_run_of_an_installed_bundle_works_in_a_folder_of_its_name(shelf, tmp_path):
    assert work_folder(shelf / "lung_segmentation") == "lung_segmentation"
    assert work_folder(str(tmp_path / "lung_segmentation")) == str(tmp_path / "lung_segmentation")


@pytest.mark.parametrize("installed", [True, False])
def test_the_configs_of_a_bundle_write_where_it_may_be_written(shelf, tmp_path, installed):
    root = build_bundle("isic_aisam", (shelf if installed else tmp_path) / "isic_aisam_segmentation")
    work = "isic_aisam_segmentation" if installed else str(root)
    for name, results in (("inference", "/eval/predictions"), ("train", "/eval")):
        parser = ConfigParser(ConfigParser.load_config_file(str(root / "configs" / f"{name}.yaml")))
        parser["bundle_root"] = str(root)
        assert parser.get_parsed_content("output_dir") == work + results
        assert parser.get_parsed_content("dataset_dir") == f"{work}/data"


def test_a_training_in_an_installed_bundle_is_refused_before_it_computes(shelf):
    root = build_bundle("isic_aisam", shelf / "isic_aisam_segmentation")
    with pytest.raises(OSError, match=r"models: must not be among the installed bundles, .* copy the bundle"):
        run_training(root)


def test_results_among_the_installed_bundles_are_refused(shelf, tmp_path):
    with pytest.raises(OSError, match=r"out: must not be among the installed bundles, .* choose another folder"):
        check_writable(shelf / "out")
    check_writable(tmp_path / "out")


AGAIN = r"is damaged.*Install the bundles again: pip install --force-reinstall amsam_monai_bundles-.*\.whl$"


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_in_an_installed_model_is_refused_with_how_to_install_it_again(shelf, tmp_path):
    root = write_nano_bundle(shelf, name="lung_segmentation")
    flip(root / "models" / "model.pt", (root / "models" / "model.pt").stat().st_size // 2)
    with pytest.raises(ValueError, match=AGAIN):
        read_model(root / "models" / "model.pt")
    (root / "models" / "model.pt").rename(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"is damaged.*Copy it again from where it came"):
        read_model(tmp_path / "model.pt")


def test_so_is_one_in_an_installed_detector(shelf):
    detector = EmbeddingDetector(BoxHead(1, width=8, dilations=(1,)), class_names=["lung"], image_size=64)
    path = shelf / "lung_segmentation" / "models" / "detector.pth"
    save_detector(detector, path)
    flip(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=AGAIN):
        load_detector(path)
