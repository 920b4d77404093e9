import pytest
from PIL import Image

from amsam_monai.evaluation.curves import draw_curves, epochs_to

CURVE = [(1, 0.2), (2, 0.76), (3, 0.7), (4, 0.8)]


def test_a_picture_is_written(tmp_path):
    draw_curves({"AM-SAM": CURVE, "BLO-SAM": CURVE[:2]}, tmp_path / "curve.png", x="epoch", title="ISIC")
    picture = Image.open(tmp_path / "curve.png").convert("L")
    assert picture.size[0] > 500
    assert min(picture.getdata()) < 100


def test_the_first_epoch_that_is_near_the_end_is_found():
    assert [epochs_to(share, CURVE) for share in (0.2, 0.95, 1.0)] == [1, 2, 4]


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(ValueError, match="curves must hold at least one point"):
        draw_curves({"AM-SAM": []}, tmp_path / "curve.png", x="epoch")
    with pytest.raises(ValueError, match="points must hold at least one point"):
        epochs_to(0.95, [])
