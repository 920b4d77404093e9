import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amsam_monai.data.slices import SliceView

RAS = np.diag([1.0, 1.0, 3.0, 1.0])


def test_the_thickest_axis_is_chosen():
    assert SliceView.of((4, 5, 6), np.diag([3.0, 1, 1, 1])).axes[0] == 0
    assert SliceView.of((4, 5, 6), np.diag([1, -3.0, 1, 1])).axes[0] == 1


def test_of_equal_spacings_the_axis_nearest_to_feet_head_is_chosen_wherever_it_is_stored():
    isotropic = np.eye(4)
    assert SliceView.of((4, 5, 6), isotropic).axes[0] == 2
    assert SliceView.of((4, 5, 6), isotropic[[2, 0, 1, 3]]).axes[0] == 1
    assert SliceView.of((4, 5, 6), np.diag([1.0, 1.004, 1.0, 1.0])).axes[0] == 2  # within one per cent


def test_without_an_affine_slices_are_as_stored_along_the_last_axis():
    view = SliceView.of((4, 5, 6))
    assert view.axes == (2, 0, 1)
    assert not any(view.reverse)
    volume = np.arange(120).reshape(4, 5, 6)
    np.testing.assert_array_equal(view.see(volume)[3], volume[:, :, 3])


@pytest.mark.parametrize(
    ("plane", "corner"),  # stored RAS index of the first slice's top left pixel
    [("axial", (3, 4, 0)), ("coronal", (3, 4, 5)), ("sagittal", (3, 4, 5))],
)
def test_planes_are_turned_as_they_are_read(plane, corner):
    view = SliceView.of((4, 5, 6), RAS, axis=plane)
    assert tuple(view.to_voxel([0, 0, 0]).astype(int)) == corner
    volume = np.zeros((4, 5, 6))
    volume[corner] = 1
    assert view.see(volume)[0, 0, 0] == 1
    columns = {"axial": 0, "coronal": 0, "sagittal": 1}[plane]
    assert view.axes[2] == columns


def test_the_stored_orientation_is_left_alone():
    view = SliceView.of((4, 5, 6), RAS, axis=1, orientation="stored")
    assert (view.axes, view.reverse) == ((1, 0, 2), (False, False, False))


def signed_axes():
    return st.tuples(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))


@settings(max_examples=60, deadline=None)
@given(signed_axes(), st.sampled_from(["thickest", "axial", "coronal", "sagittal", 0, 1, 2]), st.data())
def test_taking_putting_and_seeing_agree(axes, axis, data):
    order, signs = axes
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([1.0, 2.0, 3.0]) * signs)[:, order]
    view = SliceView.of((3, 4, 5), affine, axis=axis)
    volume = torch.arange(60).reshape(3, 4, 5)
    seen = view.see(volume.numpy())
    assert seen.shape == (view.depth, *view.slice_shape)
    start = data.draw(st.integers(0, view.depth - 1))
    stop = data.draw(st.integers(start + 1, view.depth))
    slices = view.take(volume[None], start, stop)[0]
    np.testing.assert_array_equal(slices.numpy(), seen[start:stop])
    copy = torch.full_like(volume, -1)
    view.put(copy, slices, start)
    np.testing.assert_array_equal(view.see(copy.numpy())[start:stop], slices.numpy())
    assert (copy == -1).sum() == 60 - slices.numel()
    place = np.array([start, view.slice_shape[1] - 1, 1])  # slice, x, y
    voxel = view.to_voxel(place)
    assert volume[tuple(voxel.astype(int))] == seen[place[0], place[2], place[1]]
    np.testing.assert_array_equal(view.to_slice(voxel), place)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((4, 5), {}, "three axes"),
        ((4, 5, 6, 2), {}, "split 4D series"),
        ((4, 0, 6), {}, "none empty"),
        ((4, 5, 6), {"axis": 3}, "axis must be"),
        ((4, 5, 6), {"axis": "diagonal"}, "axis must be"),
        ((4, 5, 6), {"axis": True}, "axis must be"),
        ((4, 5, 6), {"axis": "axial"}, "needs an affine"),
        ((4, 5, 6), {"orientation": "neurological"}, "orientation must be one of"),
    ],
)
def test_what_cannot_be_sliced_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=message):
        SliceView.of(shape, **options)


def test_a_placeholder_affine_leaves_slices_as_stored():
    for affine in (None, np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])):
        view = SliceView.of((5, 6, 7), affine)
        assert view.axes == (2, 0, 1)
        assert view.reverse == (False, False, False)
    assert SliceView.of((5, 6, 7), np.eye(4), axis="axial").axes == (2, 1, 0)  # asked for by name
