"""Random windows of an image in SAM's square."""

import pytest
import torch

from amsam_monai.keys import IGNORE_INDEX
from amsam_monai.transforms.windows import RandWindowd

STILL = {"degrees": 0, "scale": (1.0, 1.0), "turn": 0.0}


def sample(rows=40, columns=60):
    image = torch.arange(rows * columns, dtype=torch.float32).reshape(1, rows, columns) / (rows * columns)
    label = torch.zeros(1, rows, columns, dtype=torch.uint8)
    label[0, 10:14, 40:44] = 2
    return {"image": image, "label": label}


def seeded(transform, seed=0):
    return transform.set_random_state(seed=seed)


def test_a_window_as_large_as_the_image_is_the_image_itself():
    given = sample(40, 40)
    out = seeded(RandWindowd(size=40, window=40, **STILL))(given)
    torch.testing.assert_close(out["image"], given["image"])
    assert torch.equal(out["label"], given["label"])


def test_image_and_label_move_together():
    given = sample()
    given["image"] = (given["label"] == 2).float()
    transform = seeded(RandWindowd(size=120, window=48, follow=1.0))
    for _ in range(20):
        out = transform(given)
        inside, outside = out["image"][0][out["label"][0] == 2], out["image"][0][out["label"][0] == 0]
        assert inside.mean() > 0.75
        assert outside.mean() < 0.1


def test_a_window_that_follows_holds_the_object():
    transform = seeded(RandWindowd(size=120, window=48, follow=1.0, stray=0.25))
    assert all((transform(sample())["label"] == 2).any() for _ in range(20))


def test_the_longest_side_fills_the_square_and_magnification_is_as_told():
    given = sample()
    for scale in (1.0, 1.5):
        transform = seeded(RandWindowd(size=120, window=120, follow=1, degrees=0, scale=(scale, scale), turn=0))
        area = int((transform(given)["label"] == 2).sum())
        assert area == pytest.approx(16 * (2 * scale) ** 2, rel=0.15)


def test_beyond_the_edge_is_the_fill_and_nothing_is_scored():
    out = seeded(RandWindowd(size=60, window=60, fill=(0.1, 0.2, 0.3), **STILL))(sample())  # 40 rows of 60
    beyond = out["label"][0] == IGNORE_INDEX
    assert int(beyond.sum()) == 20 * 60
    torch.testing.assert_close(out["image"][0][beyond], torch.full((1200,), 0.2))


def test_the_same_seed_gives_the_same_window():
    first, second = (seeded(RandWindowd(size=120, window=32), 3)(sample()) for _ in range(2))
    assert torch.equal(first["image"], second["image"])


def test_a_window_larger_than_the_square_is_refused():
    with pytest.raises(ValueError, match="window must lie in the square of 64 pixels, got 80"):
        RandWindowd(size=64, window=80)
