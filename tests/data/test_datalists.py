import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset

from amsam_monai.data.datasets import (
    DatasetError,
    LoadCased,
    acdc_datalist,
    image_folder_datalist,
    isic_datalist,
    synapse_datalist,
)
from amsam_monai.data.datasets.polygons import read_polygons
from tests.data.tiny_sets import acdc_patient, array_file, isic_pair, labels, mask, picture, synapse_case, volume


def ids(items):
    return [item["case_id"] for item in items]


# --- ACDC


@pytest.mark.parametrize("folder", ["", "training", "database/training"])
def test_acdc_folders_are_found_wherever_they_begin(tmp_path, folder):
    acdc_patient(tmp_path / folder, "patient001")
    acdc_patient(tmp_path / folder, "patient002", frames=(1, 9))
    items = acdc_datalist(tmp_path)
    assert ids(items) == ["patient001_frame01", "patient001_frame12", "patient002_frame01", "patient002_frame09"]
    assert [item["section"] for item in items] == ["training", "training", "test", "test"]
    assert [item["phase"] for item in items] == ["ED", "ES", "ED", "ES"]
    assert {item["patient_id"] for item in items} == {"patient001", "patient002"}


def test_acdc_without_info_has_no_phase_and_keeps_its_ids(tmp_path):
    acdc_patient(tmp_path, "patient001", info=False)
    assert [item["phase"] for item in acdc_datalist(tmp_path)] == ["", ""]


def test_acdc_passes_over_the_whole_film(tmp_path):
    volume(acdc_patient(tmp_path, "patient001") / "patient001_4d.nii.gz")
    assert len(acdc_datalist(tmp_path)) == 2


def test_an_info_that_names_a_missing_frame_is_refused(tmp_path):
    folder = acdc_patient(tmp_path, "patient001")
    (folder / "Info.cfg").write_text("ED: 1\nES: 14\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"Info\.cfg: names frame 14 as ES"):
        acdc_datalist(tmp_path)


def test_mt_unet_s_arrays_have_patients_phases_and_slices(tmp_path):
    for number in range(2):
        array_file(tmp_path / "train" / f"case_001_sliceED_{number}.npz", keys=("img", "label"))
    array_file(tmp_path / "valid" / "case_019_sliceES_0.npz", keys=("img", "label"))
    array_file(tmp_path / "test" / "case_002_volume_ED.npz", keys=("img", "label"), shape=(2, 4, 5))
    items = acdc_datalist(tmp_path)
    assert ids(items) == ["patient001_ED_slice000", "patient001_ED_slice001", "patient002_ED", "patient019_ES_slice000"]
    assert [item["section"] for item in items] == ["training", "training", "test", "validation"]
    assert items[1]["slice"] == 1
    assert items[0]["image"] == items[0]["label"]


def test_ssl4mis_gives_slices_to_train_and_volumes_to_score(tmp_path):
    for patient in ("patient001", "patient003"):  # of the official split: training, test
        array_file(tmp_path / "data" / f"{patient}_frame01.h5", shape=(2, 4, 5))
        for number in range(2):
            array_file(tmp_path / "data" / "slices" / f"{patient}_frame01_slice_{number}.h5")
    assert ids(acdc_datalist(tmp_path)) == [
        "patient001_frame01_slice000",
        "patient001_frame01_slice001",
        "patient003_frame01",
    ]
    assert len(acdc_datalist(tmp_path, form="volume")) == 2
    assert len(acdc_datalist(tmp_path, form="slice")) == 4
    assert acdc_datalist(tmp_path, split="ssl4mis")[0]["section"] == "test"


def test_a_folder_that_contradicts_the_split_is_refused(tmp_path):
    array_file(tmp_path / "train" / "case_002_sliceED_0.npz", keys=("img", "label"))
    with pytest.raises(
        DatasetError, match="lies in a folder for training, but split official puts patient002 into test"
    ):
        acdc_datalist(tmp_path)
    assert acdc_datalist(tmp_path, split="folders")[0]["section"] == "training"


def test_a_patient_in_two_sections_is_refused(tmp_path):
    array_file(tmp_path / "train" / "case_001_sliceED_0.npz", keys=("img", "label"))
    array_file(tmp_path / "test" / "case_001_volume_ES.npz", keys=("img", "label"), shape=(2, 4, 5))
    with pytest.raises(DatasetError, match="patient patient001 must lie in one section, got test and training"):
        acdc_datalist(tmp_path, split="folders")


def test_a_section_can_be_asked_for_and_must_have_cases(tmp_path):
    acdc_patient(tmp_path, "patient001")
    assert len(acdc_datalist(tmp_path, section="training")) == 2
    with pytest.raises(ValueError, match="must hold cases for validation"):
        acdc_datalist(tmp_path, section="validation")
    with pytest.raises(ValueError, match="section must be one of"):
        acdc_datalist(tmp_path, section="train")


def test_a_split_file_of_one_s_own_sets_sections(tmp_path):
    acdc_patient(tmp_path, "patient001")
    own = tmp_path / "own.json"
    own.write_text('{"validation": ["patient001"]}', encoding="utf-8")
    assert {item["section"] for item in acdc_datalist(tmp_path, split=own)} == {"validation"}


# --- Synapse


@pytest.mark.parametrize("folder", ["", "RawData/Training"])
def test_btcv_s_volumes_pair_by_number(tmp_path, folder):
    synapse_case(tmp_path / folder, 1)
    synapse_case(tmp_path / folder, 5)
    items = synapse_datalist(tmp_path)
    assert ids(items) == ["case0001", "case0005"]
    assert [item["section"] for item in items] == ["test", "training"]


def test_transunet_s_arrays_need_their_order_said(tmp_path):
    array_file(tmp_path / "train_npz" / "case0005_slice003.npz")
    array_file(tmp_path / "test_vol_h5" / "case0001.npy.h5", shape=(2, 4, 5), values=range(9))
    with pytest.raises(ValueError, match="'synapse-transunet' for TransUNet's download"):
        synapse_datalist(tmp_path)
    items = synapse_datalist(tmp_path, labels="synapse-transunet")
    assert ids(items) == ["case0001", "case0005_slice003"]
    assert [item["patient_id"] for item in items] == ["case0001", "case0005"]


def test_organs_outside_the_table_are_refused(tmp_path):
    array_file(tmp_path / "train_npz" / "case0005_slice000.npz", values=(0, 11))
    with pytest.raises(DatasetError, match=r"case0005_slice000\.npz: label values must be 0 or 1 spleen.*got 11"):
        synapse_datalist(tmp_path, labels="synapse-samed")


def test_volumes_without_labels_are_said_to_be_left_out(tmp_path, caplog):
    synapse_case(tmp_path / "Training", 5)
    volume(tmp_path / "Testing" / "img" / "img0061.nii.gz")
    with caplog.at_level("INFO"):
        assert ids(synapse_datalist(tmp_path)) == ["case0005"]
    assert "its 1 volumes were left out" in caplog.text


# --- ISIC


def test_isic_s_plain_folders_pair_by_name(tmp_path):
    isic_pair(tmp_path)
    item = isic_datalist(tmp_path)[0]
    assert item["case_id"] == "ISIC_0000001"
    assert item["section"] == ""


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_challenge_of_2018_is_split_by_its_folders(tmp_path, wrapped):
    for number, part in enumerate(("Training", "Validation", "Test")):
        inputs, truth = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
        twice = (lambda name: tmp_path / name / name) if wrapped else (lambda name: tmp_path / name)
        picture(twice(inputs) / f"ISIC_000000{number}.jpg")
        mask(twice(truth) / f"ISIC_000000{number}_segmentation.png")
        (twice(inputs) / "LICENSE.txt").write_text("CC-0", encoding="utf-8")
    items = isic_datalist(tmp_path)
    assert [item["section"] for item in items] == ["training", "validation", "test"]
    assert len(isic_datalist(tmp_path, section="test")) == 1


def test_the_challenge_of_2016_writes_segmentation_with_a_capital(tmp_path):
    picture(tmp_path / "ISBI2016_ISIC_Part1_Training_Data" / "ISIC_0000003.jpg")
    mask(tmp_path / "ISBI2016_ISIC_Part1_Training_GroundTruth" / "ISIC_0000003_Segmentation.png")
    assert ids(isic_datalist(tmp_path)) == ["ISIC_0000003"]


def test_two_editions_side_by_side_must_be_chosen_from(tmp_path):
    for inputs, truth in (
        ("ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"),
        ("ISIC2018_Task1-2_Training_Input", "ISIC2018_Task1_Training_GroundTruth"),
    ):
        picture(tmp_path / inputs / "ISIC_0000003.jpg")
        mask(tmp_path / truth / "ISIC_0000003_segmentation.png")
    with pytest.raises(ValueError, match="edition must be chosen where several are, got 2018, 2017"):
        isic_datalist(tmp_path)
    assert len(isic_datalist(tmp_path, edition="2017")) == 1


# --- image folders


def test_glas_tells_sections_by_name_and_merges_instances(tmp_path):
    for stem in ("train_1", "testA_2", "testB_10"):
        picture(tmp_path / f"{stem}.bmp")
        mask(tmp_path / f"{stem}_anno.bmp", value=7)
    (tmp_path / "Grade.csv").write_text("name, grade", encoding="utf-8")
    items = image_folder_datalist(tmp_path, preset="glas")
    assert [(item["case_id"], item["section"]) for item in items] == [
        ("testA_2", "test"),
        ("testB_10", "test"),
        ("train_1", "training"),
    ]
    assert LoadCased()(items[0])["label"].unique().tolist() == [0, 1]


OUTLINES = """<Annotations><Annotation><Regions><Region><Vertices>
<Vertex X="2" Y="3"/><Vertex X="6" Y="3"/><Vertex X="6" Y="9"/><Vertex X="2" Y="9"/>
</Vertices></Region></Regions></Annotation></Annotations>"""


def test_monuseg_s_outlines_become_masks(tmp_path):
    folder = tmp_path / "MoNuSeg 2018 Training Data"
    picture(folder / "Tissue Images" / "TCGA-18-5592-01Z-00-DX1.tif")
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "TCGA-18-5592-01Z-00-DX1.xml").write_text(OUTLINES, encoding="utf-8")
    item = image_folder_datalist(tmp_path, preset="monuseg")[0]
    assert (item["section"], item["patient_id"]) == ("training", "TCGA-18-5592")
    label = LoadCased()(item)["label"][0]
    assert label[3:10, 2:7].all()
    assert label.sum() == 35


def test_monuseg_s_test_pairs_lie_in_one_folder(tmp_path):
    picture(tmp_path / "MoNuSegTestData" / "TCGA-2Z-A9J9-01A-01-TS1.tif")
    (tmp_path / "MoNuSegTestData" / "TCGA-2Z-A9J9-01A-01-TS1.xml").write_text(OUTLINES, encoding="utf-8")
    assert image_folder_datalist(tmp_path, preset="monuseg")[0]["section"] == "test"


def test_autosam_s_copy_of_monuseg_is_read(tmp_path):
    for part in ("Training", "Test"):
        picture(tmp_path / part / "img" / f"{part}-1.tif")
        mask(tmp_path / part / "mask" / f"{part}-1.png", value=1)
    assert [item["section"] for item in image_folder_datalist(tmp_path, preset="monuseg")] == ["test", "training"]


def test_an_outline_far_outside_the_image_is_refused(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text(OUTLINES.replace('X="6"', 'X="60"'), encoding="utf-8")
    with pytest.raises(ValueError, match="outlines must lie within 4x4"):
        read_polygons(path, (4, 4))


def test_kvasir_s_jpeg_masks_are_cut_at_half(tmp_path, caplog):
    picture(tmp_path / "Kvasir-SEG" / "images" / "cju.jpg", 40, 40)
    mask(tmp_path / "Kvasir-SEG" / "masks" / "cju.jpg", 40, 40)
    (tmp_path / "Kvasir-SEG" / "kavsir_bboxes.json").write_text("{}", encoding="utf-8")
    with caplog.at_level("INFO"):
        items = image_folder_datalist(tmp_path, preset="kvasir")
    assert "1 of 1 labels cut at half" in caplog.text
    label = LoadCased()(items[0])["label"]
    assert label.sum() == 100  # 10 x 10, no more


def test_pranet_s_test_sets_keep_same_names_apart(tmp_path):
    picture(tmp_path / "TrainDataset" / "image" / "1.png")
    mask(tmp_path / "TrainDataset" / "mask" / "1.png")
    for name in ("CVC-ColonDB", "ETIS-LaribPolypDB"):
        picture(tmp_path / "TestDataset" / name / "images" / "1.png")
        mask(tmp_path / "TestDataset" / name / "masks" / "1.png")
    items = image_folder_datalist(tmp_path, preset="polyp")
    assert ids(items) == ["1", "CVC-ColonDB/1", "ETIS-LaribPolypDB/1"]
    assert [item["section"] for item in items] == ["training", "test", "test"]


def sun_seg(root: Path, part: str, clip: str) -> None:
    picture(root / part / "Frame" / clip / "a_image0001.jpg")
    mask(root / part / "GT" / clip / "a_image0001.png")


def test_sun_seg_shares_patients_only_where_its_owner_says_so(tmp_path):
    sun_seg(tmp_path, "TrainDataset", "case1_1")
    sun_seg(tmp_path, "TestEasyDataset/Seen", "case1_2")
    sun_seg(tmp_path, "TestEasyDataset/Unseen", "case7_1")
    items = image_folder_datalist(tmp_path, preset="sunseg")
    assert [item["patient_id"] for item in items] == ["case1", "case7", "case1"]
    assert ids(items)[0] == "EasySeen/case1_2/a_image0001"
    sun_seg(tmp_path, "TestHardDataset/Unseen", "case1_3")
    with pytest.raises(DatasetError, match="patient case1 must lie in one section"):
        image_folder_datalist(tmp_path, preset="sunseg")


def test_sun_seg_s_clips_need_both_folders(tmp_path):
    sun_seg(tmp_path, "TrainDataset", "case1_1")
    picture(tmp_path / "TrainDataset" / "Frame" / "case2_1" / "a.jpg")
    with pytest.raises(DatasetError, match=r"case2_1: must have a partner, found no folder .*GT/case2_1"):
        image_folder_datalist(tmp_path, preset="sunseg")


def test_humans_are_in_numeric_order(tmp_path):
    for number in (10, 2, 1, 191):
        picture(tmp_path / "Training_Images" / f"{number}.jpg")
        mask(tmp_path / "Ground_Truth" / f"{number}.png")
    items = image_folder_datalist(tmp_path, preset="human", split="official")
    assert ids(items) == ["1", "2", "10", "191"]
    assert items[-1]["section"] == "test"


def test_tiktok_s_folders_and_blo_sam_s_copy_are_read(tmp_path):
    inner = tmp_path / "kaggle" / "segmentation_full_body_tik_tok_2615_img"
    picture(inner / "images" / "00001.png")
    mask(inner / "masks" / "00001.png")
    picture(tmp_path / "blosam" / "Images" / "00001.png")
    mask(tmp_path / "blosam" / "Masks" / "00001.png", value=1)
    assert ids(image_folder_datalist(tmp_path / "kaggle", preset="tiktok")) == ["00001"]
    assert ids(image_folder_datalist(tmp_path / "blosam", preset="tiktok")) == ["00001"]


def test_plain_folders_may_have_sections(tmp_path):
    for part in ("train", "val", "test"):
        picture(tmp_path / part / "images" / f"{part}.png")
        mask(tmp_path / part / "masks" / f"{part}_mask.png")
    assert sorted(item["section"] for item in image_folder_datalist(tmp_path)) == ["test", "training", "validation"]


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path / name / "images" / "1.png")
        mask(tmp_path / name / "labels" / "1.png")
    with pytest.raises(ValueError, match=r"data set must be one, found it in .*a and in .*b; choose one"):
        image_folder_datalist(tmp_path)


def test_a_set_with_several_classes_takes_its_own_table(tmp_path):
    picture(tmp_path / "images" / "1.png")
    mask(tmp_path / "labels" / "1.png", value=2)
    items = image_folder_datalist(tmp_path, labels={1: "car", 2: "wheel"})
    assert LoadCased()(items[0])["label"].unique().tolist() == [0, 2]
    with pytest.raises(DatasetError, match="label values must be 0 or 1 car, got 2"):
        image_folder_datalist(tmp_path, labels={1: "car"})


def test_nothing_found_says_what_is_expected(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected Training_Images/1\.jpg with .* found pictures"):
        image_folder_datalist(tmp_path, preset="human")
    with pytest.raises(FileNotFoundError, match="no ACDC here; expected folders patient001"):
        acdc_datalist(tmp_path)
    with pytest.raises(FileNotFoundError, match="no Synapse here"):
        synapse_datalist(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        isic_datalist(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="preset must be one of plain, glas"):
        image_folder_datalist(tmp_path, preset="cats")


# --- sizes


def test_a_smaller_mask_is_resized_with_nearest_and_counted(tmp_path, caplog):
    picture(tmp_path / "images" / "1.png", 24, 32)
    mask(tmp_path / "labels" / "1.png", 12, 16)
    with caplog.at_level("INFO"):
        items = image_folder_datalist(tmp_path)
    assert "1 of 1 labels resized" in caplog.text
    label = LoadCased()(items[0])["label"][0]
    assert label.shape == (24, 32)
    assert label[6:12, 8:16].all()
    assert label.sum() == 48


def test_rounding_of_a_smaller_mask_s_size_is_forgiven(tmp_path):
    picture(tmp_path / "images" / "1.png", 100, 150)
    mask(tmp_path / "labels" / "1.png", 41, 61)  # 61.5 would be exact
    assert len(image_folder_datalist(tmp_path)) == 1


def test_another_aspect_is_refused_with_both_sizes(tmp_path):
    picture(tmp_path / "images" / "1.png", 24, 32)
    mask(tmp_path / "labels" / "1.png", 16, 16)
    with pytest.raises(DatasetError, match=r"label must have the aspect of .*1\.png, 32x24, got 16x16"):
        image_folder_datalist(tmp_path)


def test_a_turned_photograph_is_recognised(tmp_path):
    picture(tmp_path / "images" / "1.png", 24, 32)
    mask(tmp_path / "labels" / "1.png", 32, 24)
    with pytest.raises(DatasetError, match="turned by its EXIF tag"):
        image_folder_datalist(tmp_path)


def test_a_label_volume_of_another_shape_is_refused(tmp_path):
    folder = acdc_patient(tmp_path, "patient001")
    labels(folder / "patient001_frame12_gt.nii.gz", shape=(6, 5, 4))
    with pytest.raises(DatasetError, match=r"frame12_gt\.nii\.gz: label must have the shape"):
        acdc_datalist(tmp_path)


# --- use


def test_items_collate_into_batches(tmp_path):
    acdc_patient(tmp_path, "patient001")
    acdc_patient(tmp_path, "patient002", info=False)
    loader = DataLoader(Dataset(acdc_datalist(tmp_path), LoadCased()), batch_size=4)
    batch = next(iter(loader))
    assert batch["image"].shape == (4, 1, 6, 5, 3)
    assert batch["label"].dtype == torch.int64
    assert batch["phase"] == ["ED", "ES", "", ""]


def test_ids_do_not_depend_on_where_the_folder_is(tmp_path):
    isic_pair(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there" / "deep")
    assert ids(isic_datalist(tmp_path / "here")) == ids(isic_datalist(tmp_path / "there"))


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="label rule must be one of"):
        LoadCased(rule="guess")


@pytest.mark.data
@pytest.mark.parametrize(
    ("read", "cases", "patients"),
    [
        (lambda root: acdc_datalist(root / "acdc", check="names"), 160, 80),
        (lambda root: synapse_datalist(root / "synapse", check="names"), 18, 18),
        (lambda root: isic_datalist(root / "isic", check="names"), 51, 51),
        (lambda root: image_folder_datalist(root / "kvasir", preset="kvasir", check="names"), 900, 900),
        (lambda root: image_folder_datalist(root / "glas", preset="glas", check="names"), 85, 85),
        (lambda root: image_folder_datalist(root / "human", preset="human", check="names"), 230, 230),
    ],
    ids=["acdc", "synapse", "isic", "kvasir", "glas", "human"],
)
def test_real_sets_have_the_counts_of_their_table(real_data, read, cases, patients):
    items = read(real_data)
    assert len(items) == cases
    assert len({item["patient_id"] for item in items}) == patients
    assert np.unique(ids(items)).size == cases
