"""Label files that name their classes: 3D Slicer's .seg.nrrd and DICOM-SEG, into the image's geometry and by name."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from amsam_monai.data.datasets import LoadCased, read_case
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.files.images import ImageFileError, read_image, read_label, write_label
from amsam_monai.data.files.load import LoadFiled
from amsam_monai.data.files.segments import onto
from amsam_monai.evaluation.evaluate import evaluate_pairs
from amsam_monai.evaluation.label_maps import parse_map
from amsam_monai.evaluation.pairs import find_pairs
from tests.data.dicom_files import write_stack

TABLE = {1: "spleen", 2: "liver"}
SPACING, ORIGIN = (1.5, 1.5, 8.0), (10.0, 20.0, 30.0)


@pytest.fixture
def truth():
    """Liver and spleen, (k, j, i) as SimpleITK counts them."""
    label = np.zeros((6, 12, 10), np.uint8)
    label[1:4, 2:6, 3:8], label[2:5, 8:11, 1:4] = 1, 2
    return label


def write(path, array, names=(), origin=ORIGIN, layers=False):
    """A NRRD file; `names` are (name, value, layer) of its segments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array, isVector=layers)
    image.SetSpacing(SPACING)
    image.SetOrigin(origin)
    for place, (name, value, layer) in enumerate(names):
        image.SetMetaData(f"Segment{place}_Name", name)
        image.SetMetaData(f"Segment{place}_LabelValue", str(value))
        image.SetMetaData(f"Segment{place}_Layer", str(layer))
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def on_image(path, folder, labels=TABLE):
    """The label in the geometry of an image of the whole extent."""
    image = read_image(write(folder / "image.nrrd", np.zeros((6, 12, 10), np.int16)))
    return onto(read_label(path, labels=labels), image).array


def cropped(label):
    """What is not zero, and the origin of its first voxel."""
    start = [int(np.flatnonzero(label.any(axis=axes))[0]) for axes in ((1, 2), (0, 2), (0, 1))]
    stop = [int(np.flatnonzero(label.any(axis=axes))[-1]) + 1 for axes in ((1, 2), (0, 2), (0, 1))]
    origin = tuple(o + s * n for o, s, n in zip(ORIGIN, SPACING, reversed(start), strict=True))
    return label[tuple(slice(*ends) for ends in zip(start, stop, strict=True))], origin


@pytest.mark.parametrize("crop", [False, True])
def test_segments_are_matched_by_name_whatever_their_values_and_extent(crop, truth, tmp_path):
    part, origin = cropped(truth) if crop else (truth, ORIGIN)
    own = np.array([0, 7, 3], np.uint8)[part]
    path = write(tmp_path / "a.seg.nrrd", own, [("Liver", 3, 0), ("spleen", 7, 0)], origin)
    np.testing.assert_array_equal(on_image(path, tmp_path), truth.T)


def test_layers_become_one_label_map_unless_they_overlap(truth, tmp_path):
    layers = np.stack([truth == 1, truth == 2], axis=-1).astype(np.uint8)
    names = [("spleen", 1, 0), ("liver", 1, 1)]
    path = write(tmp_path / "a.seg.nrrd", layers, names, layers=True)
    np.testing.assert_array_equal(on_image(path, tmp_path), truth.T)
    layers[..., 1] |= layers[..., 0]
    with pytest.raises(ImageFileError, match="segments must not overlap, those of spleen, liver do"):
        read_label(write(tmp_path / "b.seg.nrrd", layers, names, layers=True), labels=TABLE)


def test_names_that_the_table_lacks_are_refused(truth, tmp_path):
    path = write(tmp_path / "a.seg.nrrd", truth, [("kidney", 1, 0), ("liver", 2, 0)])
    with pytest.raises(ImageFileError, match="called kidney, liver, the table is 1=spleen, 2=liver; map or rename"):
        read_label(path, labels=TABLE)
    assert sorted(np.unique(read_label(path).array)) == [0, 1, 2]  # without a table, as stored


def test_segments_that_nobody_named_keep_their_values(truth, tmp_path):
    path = write(tmp_path / "a.seg.nrrd", truth, [("Segment_1", 1, 0), ("Segment_2", 2, 0)])
    np.testing.assert_array_equal(on_image(path, tmp_path), truth.T)


@pytest.mark.parametrize("moved", [(0.7, 0.0, 0.0), (0.0, 0.0, -80.0)])
def test_a_label_beside_its_images_voxels_is_refused(moved, truth, tmp_path):
    origin = tuple(np.add(ORIGIN, moved))
    path = write(tmp_path / "a.seg.nrrd", truth, [("spleen", 1, 0), ("liver", 2, 0)], origin)
    with pytest.raises(ImageFileError, match=r"between those of|reaches beyond"):
        on_image(path, tmp_path)


@pytest.fixture
def study(tmp_path):
    """A DICOM series of six slices, a label map on three of them, and its file as DICOM-SEG."""
    image = read_image(write_stack(tmp_path / "series", 6))
    label = np.zeros(image.spatial_shape, np.uint8)
    label[1:3, 2:5, 1:4], label[4:6, 2:5, (1, 3)] = 1, 2
    (tmp_path / "pred").mkdir()
    write_label(tmp_path / "pred" / "c1.dcm", label, image, {1: "liver", 2: "spleen"})
    return image, label, tmp_path / "pred" / "c1.dcm"


def test_dicom_seg_comes_back_in_its_images_geometry_by_name(study):
    image, label, path = study
    np.testing.assert_array_equal(onto(read_label(path, labels={1: "liver", 2: "spleen"}), image).array, label)
    swapped = onto(read_label(path, labels=TABLE), image).array
    np.testing.assert_array_equal(swapped, np.array([0, 2, 1])[label])
    with pytest.raises(ImageFileError, match="segmentation: a label and no image"):
        read_image(path)


@pytest.mark.parametrize("slices", [(2,), (0, 5), (0, 2, 4)])
def test_a_tilted_series_and_slices_left_out_come_back_too(slices, tmp_path):
    angle = np.deg2rad(20)
    turn = (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle)))
    image = read_image(write_stack(tmp_path / "in", 6, orientation=turn))
    label = np.zeros(image.spatial_shape, np.uint8)
    label[2:4, 3:5, list(slices)] = 1
    path = write_label(tmp_path / "a.dcm", label, image, {1: "liver"})
    np.testing.assert_array_equal(onto(read_label(path, labels={1: "liver"}), image).array, label)


def scores(pred, label, labels, **maps):
    """Dice by class."""
    found, _ = evaluate_pairs(find_pairs(pred, label, **maps), labels, workers=1)
    return {score.label: score.values["dice"] for score in found}


def test_evaluate_scores_dicom_seg_against_any_format(study, tmp_path):
    image, label, path = study
    (tmp_path / "gt").mkdir()
    write_label(tmp_path / "gt" / "c1.nii.gz", np.array([0, 2, 1], np.uint8)[label], image)
    assert scores(path.parent, tmp_path / "gt", TABLE) == {"spleen": 1.0, "liver": 1.0}
    assert scores(path, path, TABLE) == {"spleen": 1.0, "liver": 1.0}
    half = label.copy()
    half[..., 3] = 0  # covers other slices than the whole one
    other = write_label(tmp_path / "half.dcm", half, image, {1: "liver", 2: "spleen"})
    assert scores(other, path, TABLE) == pytest.approx({"spleen": 2 / 3, "liver": 0.8})


def test_an_own_order_is_mapped_by_name_on_both_sides(study, tmp_path):
    image, label, path = study
    theirs = write_label(tmp_path / "theirs.nii.gz", np.array([0, 4, 1], np.uint8)[label], image)
    own = parse_map("liver=4,spleen=1", TABLE)
    assert scores(path, theirs, TABLE, own=own) == {"spleen": 1.0, "liver": 1.0}
    assert scores(theirs, path, TABLE, own_pred=own) == {"spleen": 1.0, "liver": 1.0}
    organs = {1: "Milz", 2: "Leber"}
    named = parse_map("Milz=spleen,Leber=liver", organs)
    assert scores(path, path, organs, own=named, own_pred=named) == {"Milz": 1.0, "Leber": 1.0}
    with pytest.raises(ValueError, match="holds 4, which --map leaves unnamed"):
        scores(path, theirs, TABLE, own=parse_map("liver=2,spleen=1", TABLE))


@pytest.mark.parametrize(
    ("text", "match"),
    [("liver", "must read CLASS=VALUE"), ("lung=1", "with classes of spleen, liver"), ("liver=1", "none for spleen"),
     ("liver=1,spleen=1", "each value once")],
)  # fmt: skip
def test_a_bad_map_is_refused(text, match):
    with pytest.raises(ValueError, match=match):
        parse_map(text, TABLE)


def test_own_data_of_named_segments_is_matched_by_name(truth, tmp_path):
    orders = ([("liver", 1, 0), ("spleen", 2, 0)], [("Spleen", 1, 0), ("liver", 2, 0)])
    for number, names in enumerate(orders):
        write(tmp_path / "images" / f"c{number}.nrrd", np.zeros((6, 12, 10), np.int16))
        part, origin = cropped(truth)
        write(tmp_path / "labels" / f"c{number}.seg.nrrd", part, names, origin)
    listing = find_own(tmp_path)
    assert (listing.problems, listing.labels) == ([], {1: "liver", 2: "spleen"})
    assert any("different orders: matched by name" in note for note in listing.notes)
    first, second = (read_case(one.image, one.label, one.rule, listing.labels).label.array for one in listing.cases)
    np.testing.assert_array_equal(first, truth.T)
    np.testing.assert_array_equal(second, np.array([0, 2, 1])[truth.T])
    assert find_own(tmp_path, labels={1: "spleen", 2: "liver"}).labels == {1: "spleen", 2: "liver"}


def test_training_reads_named_labels_by_name_and_never_by_number(study):
    image, label, path = study
    item = {"image": str(image.path), "label": str(path)}
    read = LoadCased(classes={"spleen": 1, "liver": 6})(item)["label"][0].numpy()
    np.testing.assert_array_equal(read, np.array([0, 2, 1])[label])
    with pytest.raises(ImageFileError, match=r"names its classes itself \(liver, spleen\); give the table"):
        read_case(image.path, path)
    sample = {"label": str(path)}
    assert set(LoadFiled("label", labels=TABLE)(sample)["label"].unique().tolist()) == {0, 1, 2}
