"""No two results have one name."""

from pathlib import Path

import pytest

from amsam_monai.data.files.names import result_stems
from amsam_monai.segment.batch import Extras, Job, refuse_clashes


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["x.png", "y.png"], ["x", "y"]),
        (["x.png", "x.jpg"], ["x_png", "x_jpg"]),
        (["x.png", "x.jpg", "x_png.png"], ["x_png_2", "x_jpg", "x_png"]),
        (["X.png", "x.png"], ["X_png", "x_png_2"]),
        (["\u00e9.png", "e\u0301.png"], ["\u00e9_png", "e\u0301_png_2"]),  # é, in one letter and in two
        (["a/x.png", "b/x.png"], ["a/x", "b/x"]),
    ],
)
def test_results_have_names_of_their_own(tmp_path, names, stems):
    found = result_stems([tmp_path / name for name in names], tmp_path)
    assert list(found.values()) == [Path(stem) for stem in stems]


@pytest.mark.parametrize(
    ("other", "extras", "labels"),
    [
        ("a_overlay", Extras(overlay=True), ["lesion"]),
        ("a_probabilities", Extras(probabilities=True), ["lesion"]),
        ("A_left_kidney", Extras(labels=True), ["left kidney"]),
    ],
)
def test_what_lies_beside_one_mask_is_not_written_over_another(tmp_path, other, extras, labels):
    jobs = [Job(tmp_path / f"{name}.png", tmp_path / "out" / name) for name in ("a", other)]
    refuse_clashes(jobs, Extras(), labels)
    with pytest.raises(ValueError, match=r"must not be the mask of .*; rename one of the images, or segment them"):
        refuse_clashes(jobs, extras, labels)
