"""Which files belong together, and which are refused."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from amsam_monai.evaluation.evaluate import evaluate_pairs
from amsam_monai.evaluation.pairs import Pair, case_of, find_pairs, indices_in, load_pair, parse_labels

SQUARE = np.zeros((8, 10), np.uint8)
SQUARE[2:6, 3:8] = 1


def png(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def nifti(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([2.0, 1.0, 4.0, 1.0]) if affine is None else affine), path)
    return path


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("case0001_seg.nii.gz", "case0001"),
        ("case0001_trans.nii.gz", "case0001"),
        ("patient001_frame01_gt.nii.gz", "patient001_frame01"),
        ("ISIC_0000001_segmentation.png", "ISIC_0000001"),
        ("x-label_pred.mha", "x"),
        ("img0007.nii.gz", "0007"),
        ("label0007.nii.gz", "0007"),
        ("imaging.png", "imaging"),
        ("seg.png", "seg"),
    ],
)
def test_a_case_is_named_without_suffixes_and_prefixes(name, case):
    assert case_of(name) == case


def test_a_label_table_reads_indices_and_names():
    assert parse_labels("255=lesion") == {1: "lesion"}  # masks of 0 and 255
    assert parse_labels("1=RV, 2=Myo ,3=left ventricle") == {1: "RV", 2: "Myo", 3: "left ventricle"}


@pytest.mark.parametrize("text", ["RV", "0=bg", "1=", "255=x,1=a", "1=a,1=b", "1=a,2=a", ""])
def test_a_bad_label_table_is_refused(text):
    with pytest.raises(ValueError, match="labels must"):
        parse_labels(text)


def test_folders_match_by_case_whatever_the_endings(tmp_path):
    png(tmp_path / "pred" / "a_pred.png", SQUARE)
    png(tmp_path / "pred" / "b.png", SQUARE)
    png(tmp_path / "gt" / "a_segmentation.png", SQUARE)
    png(tmp_path / "gt" / "deep" / "b_gt.png", SQUARE)
    pairs = find_pairs(tmp_path / "pred", tmp_path / "gt")
    assert [pair.case for pair in pairs] == ["a", "b"]
    assert pairs[1].label.name == "b_gt.png"


def test_labels_that_lie_among_their_images_are_told_apart(tmp_path):
    for name in ("p1_frame01.nii.gz", "p1_frame01_gt.nii.gz", "p1_4d.nii.gz"):
        nifti(tmp_path / "data" / "p1" / name, np.ones((3, 3, 2), np.uint8))
    nifti(tmp_path / "pred" / "p1_frame01.nii.gz", np.ones((3, 3, 2), np.uint8))
    pair = find_pairs(tmp_path / "pred", tmp_path / "data", tmp_path / "data")[0]
    assert pair.label.name == "p1_frame01_gt.nii.gz"
    assert pair.image.name == "p1_frame01.nii.gz"


def test_what_segment_writes_beside_a_label_map_is_passed_over(tmp_path):
    for name in ("a.png", "a_overlay.png", "a_left_kidney.png"):
        png(tmp_path / "pred" / name, SQUARE)
    png(tmp_path / "gt" / "a.png", SQUARE)
    assert len(find_pairs(tmp_path / "pred", tmp_path / "gt", names=["left kidney"])) == 1


def test_two_single_files_are_a_pair_whatever_their_names(tmp_path):
    pred, label = png(tmp_path / "mine.png", SQUARE), png(tmp_path / "theirs_gt.png", SQUARE)
    assert find_pairs(pred, label) == [Pair("theirs", pred, label)]


def test_missing_partners_are_refused_with_a_list(tmp_path):
    png(tmp_path / "pred" / "a.png", SQUARE)
    png(tmp_path / "pred" / "c.png", SQUARE)
    png(tmp_path / "gt" / "b.png", SQUARE)
    png(tmp_path / "gt" / "c.png", SQUARE)
    with pytest.raises(ValueError, match=r"got 2 problem(?s:.*)a.png: no label(?s:.*)b.png: no prediction"):
        find_pairs(tmp_path / "pred", tmp_path / "gt")
    assert [pair.case for pair in find_pairs(tmp_path / "pred", tmp_path / "gt", only_matched=True)] == ["c"]


def test_two_files_of_one_case_are_refused(tmp_path):
    png(tmp_path / "pred" / "a_seg.png", SQUARE)
    png(tmp_path / "pred" / "a_pred.png", SQUARE)
    png(tmp_path / "gt" / "a.png", SQUARE)
    with pytest.raises(ValueError, match="every case must have one file"):
        find_pairs(tmp_path / "pred", tmp_path / "gt")


def test_folders_that_share_nothing_are_refused(tmp_path):
    png(tmp_path / "pred" / "a.png", SQUARE)
    png(tmp_path / "gt" / "b.png", SQUARE)
    with pytest.raises(ValueError, match="must share cases"):
        find_pairs(tmp_path / "pred", tmp_path / "gt", only_matched=True)


def test_pictures_of_0_and_255_are_read_as_masks_where_the_table_has_label_1_alone(tmp_path):
    pair = Pair("a", png(tmp_path / "a.png", SQUARE * 255), png(tmp_path / "b.png", SQUARE))
    loaded = load_pair(pair, {1: "lesion"})
    assert (loaded.pred == SQUARE).all()
    assert loaded.notes == ("255 in the prediction read as 1",)
    with pytest.raises(ValueError, match="prediction must hold 0 and 1=RV, 2=LV, got 255 too"):
        load_pair(pair, {1: "RV", 2: "LV"})


def test_255_in_a_label_of_several_classes_is_not_scored(tmp_path):
    label = SQUARE.copy()
    label[0] = 255
    pair = Pair("a", png(tmp_path / "a.png", SQUARE), png(tmp_path / "b.png", label))
    scores, notes = evaluate_pairs([pair], {1: "RV", 2: "LV"})
    assert scores[0].values["dice"] == 1.0
    assert notes == ["voxels labelled 255 not scored: 1 cases"]


def test_an_image_swapped_for_its_label_is_refused(tmp_path):
    grey = np.arange(80, dtype=np.uint8).reshape(8, 10)
    pair = Pair("a", png(tmp_path / "a.png", SQUARE), png(tmp_path / "b.png", grey))
    with pytest.raises(ValueError, match=r"b.png: label must hold 0 and 1=lesion, got 2, 3"):
        load_pair(pair, {1: "lesion"})


def test_all_files_that_do_not_fit_are_listed(tmp_path):
    cube = np.ones((4, 4, 3), np.uint8)
    shifted = np.diag([2.0, 1.0, 4.0, 1.0])
    shifted[0, 3] = 0.01
    pairs = [
        Pair("shape", nifti(tmp_path / "s.nii.gz", cube[:3]), nifti(tmp_path / "s_gt.nii.gz", cube)),
        Pair("affine", nifti(tmp_path / "t.nii.gz", cube, shifted), nifti(tmp_path / "t_gt.nii.gz", cube)),
        Pair("good", nifti(tmp_path / "g.nii.gz", cube), nifti(tmp_path / "g_gt.nii.gz", cube)),
    ]
    with pytest.raises(ValueError, match=r"got 2 problem(?s:.*)shape(?s:.*)affine"):
        evaluate_pairs(pairs, {1: "x"})


def test_an_affine_off_by_less_than_a_thousandth_is_the_same(tmp_path):
    cube = np.ones((4, 4, 3), np.uint8)
    near = np.diag([2.0, 1.0, 4.0, 1.0])
    near[0, 3] = 0.0009
    loaded = load_pair(
        Pair("a", nifti(tmp_path / "a.nii.gz", cube, near), nifti(tmp_path / "b.nii.gz", cube)), {1: "x"}
    )
    assert loaded.spacing_mm == pytest.approx((2.0, 1.0, 4.0))


def test_distances_are_in_voxels_where_the_affine_is_the_identity(tmp_path):
    cube = np.zeros((5, 6, 4), np.uint8)
    cube[1:3, 1:3, 1:3] = 1
    pairs = [
        Pair(
            name, nifti(tmp_path / f"{name}.nii.gz", cube, affine), nifti(tmp_path / f"{name}_gt.nii.gz", cube, affine)
        )
        for name, affine in (("known", None), ("unknown", np.eye(4)))
    ]
    scores, _ = evaluate_pairs(pairs, {1: "x"})
    assert "hd95_mm" in scores[0].values
    assert "hd95_vox" in scores[1].values


def test_probabilities_feed_the_measures_of_pictures(tmp_path):
    pair = Pair("a", png(tmp_path / "p" / "a.png", SQUARE), png(tmp_path / "g" / "a.png", SQUARE))
    np.savez(tmp_path / "p" / "a_probabilities.npz", probabilities=np.stack([1 - 0.8 * SQUARE, 0.8 * SQUARE]))
    soft, _ = evaluate_pairs([pair], {1: "polyp"}, sod=True, probabilities=tmp_path / "p")
    hard, _ = evaluate_pairs([pair], {1: "polyp"}, sod=True)
    assert hard[0].values["s_measure"] == pytest.approx(1.0)
    assert hard[0].values["dice"] == soft[0].values["dice"] == 1.0
    assert soft[0].values["weighted_f"] == pytest.approx(1.0)  # the toolbox scales a picture to its own range
    with pytest.raises(ValueError, match="must hold probabilities of every case"):
        evaluate_pairs([pair], {1: "polyp"}, probabilities=tmp_path / "g" / "none")


def test_measures_of_pictures_refuse_volumes(tmp_path):
    cube = np.ones((4, 4, 3), np.uint8)
    pair = Pair("a", nifti(tmp_path / "a.nii.gz", cube), nifti(tmp_path / "b.nii.gz", cube))
    with pytest.raises(ValueError, match="S, E and F measures are of pictures"):
        evaluate_pairs([pair], {1: "x"}, sod=True)


def test_the_values_of_a_volume_are_found_in_any_memory_order():
    cube = np.zeros((3, 4, 5), np.uint8)
    cube[1, 2, 3], cube[0, 0, 0] = 7, 255
    assert indices_in(cube) == indices_in(np.asfortranarray(cube)) == {0, 7, 255}
    assert indices_in(cube.astype(np.int16)) == {0, 7, 255}


def test_frames_of_one_name_are_told_apart_by_their_clips(tmp_path):
    for side in ("pred", "gt"):
        for clip in ("a", "b"):
            (tmp_path / side / clip).mkdir(parents=True, exist_ok=True)
            png(tmp_path / side / clip / "frame1.png", SQUARE)
    pairs = find_pairs(tmp_path / "pred", tmp_path / "gt")
    assert [(pair.case, pair.pred.parent.name, pair.label.parent.name) for pair in pairs] == [
        ("a/frame1", "a", "a"),
        ("b/frame1", "b", "b"),
    ]
