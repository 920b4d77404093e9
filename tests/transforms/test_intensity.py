import numpy as np
import pytest
import torch

from amsam_monai.transforms.intensity import Intensity, Intensityd


def test_the_hounsfield_window_is_that_of_the_benchmarks():
    image = np.array([[-1000, -125, 75, 275, 3000]], np.int16)
    scaled = Intensity("hu_window")(image)
    assert scaled.dtype == torch.float32
    assert scaled.tolist() == [[0, 0, 0.5, 1, 1]]


def test_percentiles_of_whole_numbers_are_numpys():
    image = np.random.default_rng(0).integers(-50, 900, (6, 7, 8)).astype(np.int16)
    assert Intensity().limits(image) == pytest.approx(np.percentile(image, [0.5, 99.5]))


@pytest.mark.parametrize("make", [lambda r: r.normal(size=20_000), lambda r: r.lognormal(1, 2, 20_000)])
def test_percentiles_of_other_numbers_are_the_value_at_the_rank_below(make):
    image = make(np.random.default_rng(0)).astype(np.float32)
    expected = np.percentile(image, [2, 90], method="lower")
    assert Intensity(low=2, high=90).limits(image) == pytest.approx(
        expected, abs=float(np.ptp(image)) / 2**31, rel=1e-6
    )


def test_the_order_of_voxels_does_not_matter():
    image = np.random.default_rng(0).normal(size=(11, 12, 13)).astype(np.float32)
    turned = image.transpose(2, 0, 1)[::-1, :, ::-1]
    assert Intensity().limits(image) == Intensity().limits(turned)
    assert Intensity("min_max").limits(image) == Intensity("min_max").limits(turned)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32, np.float64])
def test_limits_do_not_depend_on_how_values_are_stored(kind):
    values = np.random.default_rng(0).integers(0, 900, (9, 10, 11))
    assert Intensity().limits(values.astype(kind)) == tuple(np.percentile(values, (0.5, 99.5)))
    fractions = values / 7
    assert Intensity().limits(fractions) == Intensity().limits(fractions.astype(np.float32))


def test_volumes_are_scaled_as_a_whole_and_slices_on_request():
    volume = torch.zeros(1, 2, 2, 2)
    volume[..., 0], volume[0, 0, 0, 0] = 10, 0
    volume[..., 1], volume[0, 0, 0, 1] = 100, 0
    whole = Intensity("min_max")(volume)
    each = Intensity("min_max", per="slice")(volume)
    assert whole[0, 1, 1].tolist() == pytest.approx([0.1, 1])
    assert each[0, 1, 1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("mode", "image", "expected"),
    [
        ("bit_depth", np.array([0, 51, 255], np.uint8), [0, 0.2, 1]),
        ("bit_depth", np.array([0, 13107, 65535], np.uint16), [0, 0.2, 1]),
        ("none", np.array([0, 0.2, 1], np.float32), [0, 0.2, 1]),
        ("min_max", np.array([-4, 0, 16], np.int16), [0, 0.2, 1]),
        ("percentile", np.full(5, 7.0, np.float32), [0] * 5),
        ("min_max", np.full(5, 7, np.uint8), [0] * 5),
    ],
)
def test_known_answers(mode, image, expected):
    assert Intensity(mode)(image).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("mode", "image", "message"),
    [
        ("hu_window", np.array([0, 255], np.uint8), r"air and fat are negative, got values from 0 to 255.*'bit_depth'"),
        ("bit_depth", np.array([-1000, 400], np.int16), r"bit_depth expects \[0, 255\], got values from -1000 to 400"),
        ("bit_depth", np.array([0, 3000], np.int16), "bit_depth expects"),
        ("none", np.array([0, 255], np.uint8), r"\[0, 1\], got values from 0 to 255"),
        ("percentile", np.array([0, np.nan], np.float32), "must be finite"),
        ("min_max", np.array([0, np.inf], np.float32), "must be finite"),
        ("none", np.zeros((0, 3), np.float32), "must not be empty"),
    ],
)
def test_values_that_cannot_be_what_the_mode_expects_are_refused(mode, image, message):
    with pytest.raises(ValueError, match=message):
        Intensity(mode)(image)


def test_the_check_can_be_switched_off():
    assert Intensity("hu_window", check=False)(np.array([75, 275])).tolist() == [0.5, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "magic"}, "mode must be one of"),
        ({"per": "patient"}, "per one of"),
        ({"low": 5, "high": 5}, "low must be below high"),
        ({"low": -1}, r"percentiles must lie in \[0, 100\]"),
    ],
)
def test_settings_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        Intensity(**options)


def test_the_dictionary_form_scales_its_keys_alone():
    sample = Intensityd(keys="image", mode="bit_depth")({"image": torch.tensor([255.0]), "label": torch.tensor([255])})
    assert sample["image"].item() == 1
    assert sample["label"].item() == 255
