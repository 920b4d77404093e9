import pytest

from amsam_monai.bundles.find import bundle_root, find_bundle


@pytest.fixture
def bundle(tmp_path):
    root = tmp_path / "shelf" / "heart_segmentation"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    return root


@pytest.mark.parametrize("form", ["{}", "['{}','{}']", "--config_file={}"])
def test_the_running_config_tells_its_folder(bundle, monkeypatch, tmp_path, form):
    monkeypatch.chdir(tmp_path)
    config = str(bundle / "configs" / "train.yaml")
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--config_file", form.replace("{}", config)])
    assert bundle_root("other") == str(bundle)


def test_the_working_directory_is_next(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    monkeypatch.setattr("sys.argv", ["pytest"])
    assert bundle_root("other") == str(bundle)


def test_a_name_is_looked_up_on_the_shelf(bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMSAM_BUNDLES", str(bundle.parent))
    assert find_bundle("heart_segmentation") == bundle
    assert find_bundle(bundle) == bundle


def test_the_projects_own_bundles_are_found_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert find_bundle("isic_amsam_segmentation").name == "isic_amsam_segmentation"


def test_a_missing_bundle_is_refused_with_those_that_are_there(bundle, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMSAM_BUNDLES", str(bundle.parent))
    with pytest.raises(FileNotFoundError, match=r"there is no bundle lung .*one of: .*heart_segmentation"):
        find_bundle("lung")
