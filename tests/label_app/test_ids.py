"""Every image of the studies has an id of its own, that of its file's name."""

import shutil

import pytest

from tests.data.tiny_sets import picture
from tests.label_app.test_service import save_balls

pytest.importorskip("monailabel", reason="needs MONAI Label (an environment of its own, see docs/monai_label.md)")

from amsam_monai.label_app.datastore import StudiesDatastore

pytestmark = pytest.mark.label


def opened(folder):
    return StudiesDatastore(str(folder), folder / ".copies", auto_reload=False)


def test_an_ending_within_a_name_is_part_of_the_id(tmp_path):
    studies = save_balls(tmp_path, 1)
    shutil.move(studies / "p0.nii.gz", studies / "old.nii.gz of p0.nii.gz")
    store = opened(studies)
    assert store.list_images() == ["old.nii.gz of p0"]
    assert store.get_image_uri("old.nii.gz of p0") == str(studies / "old.nii.gz of p0.nii.gz")


@pytest.mark.parametrize("listed_first", [True, False])
def test_of_two_images_with_one_id_one_is_offered_and_the_other_is_told(listed_first, tmp_path, caplog):
    studies = save_balls(tmp_path, 1)
    if listed_first:
        opened(studies)
    picture(studies / "p0.jpg", 8, 8)
    for _ in range(2):
        store, kept = opened(studies), "p0.nii.gz" if listed_first else "p0.jpg"
        assert (store.list_images(), store.get_image_uri("p0")) == (["p0"], str(studies / kept))
        assert f"is left out: the image {kept} has its id; rename one" in caplog.text
        caplog.clear()


def test_an_upload_replaces_no_file_that_came_into_the_folder_since(tmp_path):
    studies = save_balls(tmp_path, 1)
    store = opened(studies)
    picture(studies / "more.png", 8, 8)
    before = (studies / "more.png").read_bytes()
    picture(tmp_path / "more.png", 9, 9)
    with pytest.raises(ValueError, match="an id must be that of one image, 'more' is another's"):
        store.add_image("more", str(tmp_path / "more.png"), {})
    assert (studies / "more.png").read_bytes() == before
