"""The package's wheel alone, before the bundles are installed: `make test-wheel` runs this first."""

import pytest

pytestmark = pytest.mark.wheel

HOW = "install them (pip install amsam_monai_bundles-"


def test_the_list_of_bundles_says_how_to_get_some(run):
    said = run("amsam", "bundle", "list")
    assert "  isic_amsam\n" in said
    assert f"bundles: none are here; {HOW}" in said
    assert said.rstrip().endswith(".whl), or set AMSAM_BUNDLES to a folder of bundles")


@pytest.mark.parametrize(
    "command",
    [
        ("bundle", "path", "acdc_aisam_segmentation"),
        ("segment", "heart.nii.gz", "out.nii.gz", "--bundle", "acdc_aisam_segmentation"),
    ],
)
def test_a_command_that_wants_a_bundle_says_so_too(run, tmp_path, command):
    (tmp_path / "heart.nii.gz").touch()
    said = " ".join(run("amsam", *command, code=1).split())
    assert "there is no bundle acdc_aisam_segmentation" in said
    assert f"No bundles are here: {HOW}" in said
