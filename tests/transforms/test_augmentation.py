import pytest
import torch
from monai.data import MetaTensor

from amsam_monai.data.embeddings.dataset import FixedViews
from amsam_monai.keys import IGNORE_INDEX, IMAGE, LABEL
from amsam_monai.transforms.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    ColourJitterd,
    RotateScaled,
    autosam_augmentation,
)

STILL = Augmentation(jitter=(0, 0, 0, 0), degrees=0, scale=(1, 1), left_right=0)


def square(size=33, half=5):
    """A white square in the middle, and its label."""
    label = torch.zeros(1, size, size, dtype=torch.int64)
    middle = size // 2
    label[:, middle - half : middle + half + 1, middle - half : middle + half + 1] = 1
    return {IMAGE: label.float().repeat(3, 1, 1), LABEL: label}


def seeded(transform, seed=0):
    return transform.set_random_state(seed=seed)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_image_and_label_stay_together(name):
    transform = seeded(autosam_augmentation(name))
    for _ in range(10):
        sample = transform(square())
        assert sample[LABEL].dtype == torch.int64
        assert set(sample[LABEL].unique().tolist()) == {0, 1}
        assert ((sample[IMAGE].mean(0) > 0.4) == (sample[LABEL][0] > 0)).float().mean() > 0.97
        assert sample[IMAGE].min() >= 0
        assert sample[IMAGE].max() <= 1


def test_settings_of_zero_change_nothing():
    sample = square()
    changed = seeded(autosam_augmentation(STILL))(sample)
    torch.testing.assert_close(changed[IMAGE], sample[IMAGE])
    assert torch.equal(changed[LABEL], sample[LABEL])


def test_the_same_seed_gives_the_same_view():
    transform = autosam_augmentation("polyp")
    first, again, other = (seeded(transform, seed)(square()) for seed in (1, 1, 2))
    assert torch.equal(first[IMAGE], again[IMAGE])
    assert torch.equal(first[LABEL], again[LABEL])
    assert not torch.equal(first[IMAGE], other[IMAGE])


def test_a_scale_above_one_magnifies():
    larger = seeded(RotateScaled(degrees=0, scale=(1.25, 1.25)))(square())[LABEL].sum()
    smaller = seeded(RotateScaled(degrees=0, scale=(0.75, 0.75)))(square())[LABEL].sum()
    assert larger > 121 > smaller  # 11 x 11 pixels before
    assert larger.item() == pytest.approx(121 * 1.25**2, rel=0.15)


def test_a_quarter_turn_moves_a_corner_to_the_next_one():
    label = torch.zeros(1, 9, 9, dtype=torch.int64)
    label[0, 0, 0] = 2
    turn = seeded(RotateScaled(degrees=90, scale=(1, 1)))
    turn.randomize = lambda: setattr(turn, "_angle", 90.0)
    moved = turn({IMAGE: label.float().repeat(3, 1, 1), LABEL: label})
    assert moved[LABEL][0, 0, 8] == 2
    assert moved[LABEL].sum() == 2


def test_brightness_scales_by_a_factor_within_its_bounds():
    grey = {IMAGE: torch.full((3, 4, 4), 0.5)}
    jitter = seeded(ColourJitterd(jitter=(0.2, 0, 0, 0)))
    values = torch.stack([jitter(grey)[IMAGE].mean() for _ in range(50)])
    assert 0.4 <= values.min() < 0.43
    assert 0.57 < values.max() <= 0.6


def test_only_polyps_are_turned_upside_down():
    assert {name for name, entry in AUGMENTATIONS.items() if entry.top_bottom} == {"polyp"}


def test_meta_information_survives():
    sample = {key: MetaTensor(value, meta={"filename_or_obj": "a.png"}) for key, value in square().items()}
    changed = seeded(autosam_augmentation("glas"))(sample)
    assert changed[IMAGE].meta["filename_or_obj"] == "a.png"


def framed():
    """An image of 20 rows in a square of 33, the rest padding."""
    sample = square()
    sample[LABEL][:, 20:] = IGNORE_INDEX
    return sample


def test_padding_stays_where_it_was():
    changed = seeded(autosam_augmentation("polyp", framed=True))(framed())
    padding = changed[LABEL] == IGNORE_INDEX
    assert torch.equal(padding, framed()[LABEL] == IGNORE_INDEX)
    colours = changed[IMAGE][:, 20:].flatten(1).unique(dim=1)
    torch.testing.assert_close(colours[:, 0] * 255, torch.tensor([123.675, 116.28, 103.53]))
    assert not torch.equal(changed[IMAGE][:, :20], framed()[IMAGE][:, :20])


def test_views_of_an_image_can_be_fixed():
    views = FixedViews(autosam_augmentation("glas", framed=True), seed=3)
    first, again, other = (views(framed(), view) for view in (1, 1, 2))
    assert torch.equal(first[IMAGE], again[IMAGE])
    assert not torch.equal(first[IMAGE], other[IMAGE])


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="augmentation must be one of glas, monuseg, polyp, got 'acdc'"):
        autosam_augmentation("acdc")
