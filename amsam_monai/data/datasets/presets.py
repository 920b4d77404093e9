"""How the image sets lie on disk: the owner's layout of each, and the common derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

IMAGES = ("images", "image", "imgs", "img", "Images", "JPEGImages")
LABELS = ("labels", "label", "masks", "mask", "Masks", "gt", "GT", "annotations", "SegmentationClass")


@dataclass(frozen=True)
class Layout:
    """A folder of images and the folder of their labels.

    Args:
        images: relative paths, the first that exists counts; "." is the folder itself.
        labels: relative paths; where it is the folder of the images, `suffixes` tell labels from images.
        section: what this folder is for, if the owner says so.
        subset: part of the data set, a prefix of case ids.
        suffixes: endings of a label's name beyond the image's, "_segmentation" for instance.
        rule: see `to_classes`.
        nested: images lie one folder deeper, one folder per clip.
        shared_patients: the owner put patients of the training part in here on purpose.
    """

    images: tuple[str, ...]
    labels: tuple[str, ...]
    section: str | None = None
    subset: str = ""
    suffixes: tuple[str, ...] = ()
    rule: str = "binary"
    nested: bool = False
    shared_patients: bool = False


@dataclass(frozen=True)
class Preset:
    """An image set.

    Args:
        labels: name of its label table.
        layouts: the owner's; all that exist are read together.
        derived: those of copies, for where none of `layouts` exists.
        patient: regular expression whose first group, in a case id, is the patient; "" where nobody knows.
        sections: regular expressions of case ids to sections, where names tell.
        expected: words for the message when nothing is found.
    """

    labels: str
    layouts: tuple[Layout, ...]
    derived: tuple[Layout, ...] = ()
    patient: str = ""
    sections: Mapping[str, str] = field(default_factory=dict)
    expected: str = "images/ with labels/ or masks/ beside it, files of the same name"


PLAIN = (Layout(IMAGES, LABELS, suffixes=("_segmentation", "_mask", "_label", "_seg")),)
PLAIN_SECTIONS = tuple(
    Layout(
        tuple(f"{folder}/{name}" for folder in folders for name in IMAGES),
        tuple(f"{folder}/{name}" for folder in folders for name in LABELS),
        section,
        suffixes=("_segmentation", "_mask", "_label", "_seg"),
    )
    for section, folders in (
        ("training", ("train", "training", "Training", "Train")),
        ("validation", ("val", "valid", "validation", "Validation", "Val")),
        ("test", ("test", "testing", "Test", "Testing")),
    )
)


def _polyp_tests() -> tuple[Layout, ...]:
    """The five test sets of PraNet, each a subset of its own."""
    names = ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")
    return tuple(
        Layout(
            tuple(f"TestDataset/{name}/{images}" for images in ("images", "image")),
            tuple(f"TestDataset/{name}/{masks}" for masks in ("masks", "mask")),
            "test",
            name,
        )
        for name in names
    )


def _sun_seg_tests() -> tuple[Layout, ...]:
    """Easy and hard, each with patients seen in training and unseen ones."""
    return tuple(
        Layout(
            (f"Test{level}Dataset/{seen}/Frame",),
            (f"Test{level}Dataset/{seen}/GT",),
            "test",
            f"{level}{seen}",
            nested=True,
            shared_patients=seen == "Seen",
        )
        for level in ("Easy", "Hard")
        for seen in ("Seen", "Unseen")
    )


PRESETS: Mapping[str, Preset] = {
    "plain": Preset("foreground", PLAIN_SECTIONS, PLAIN),
    "glas": Preset(
        "gland",
        (Layout((".",), (".",), suffixes=("_anno",), rule="instances"),),
        tuple(Layout(one.images, one.labels, suffixes=("_anno", "_mask"), rule="instances") for one in PLAIN),
        sections={r"train_?\d+": "training", r"test[AB]_?\d+": "test"},
        expected="train_1.bmp with train_1_anno.bmp, testA_1.bmp ... (Warwick-QU), or images/ and labels/",
    ),
    "monuseg": Preset(
        "nucleus",
        (
            Layout(("Training/img",), ("Training/mask",), "training", rule="instances"),
            Layout(("Test/img",), ("Test/mask",), "test", rule="instances"),
            Layout(
                ("MoNuSeg 2018 Training Data/Tissue Images", "Tissue Images"),
                ("MoNuSeg 2018 Training Data/Annotations", "Annotations"),
                "training",
                rule="instances",
            ),
            Layout(("MoNuSegTestData",), ("MoNuSegTestData",), "test", rule="instances"),
        ),
        tuple(Layout(one.images, one.labels, one.section, rule="instances") for one in (*PLAIN_SECTIONS, *PLAIN)),
        patient=r"(TCGA-\w{2}-\w{4})",
        expected="'Tissue Images' with Annotations (the challenge's XML), or Training/img with Training/mask",
    ),
    "kvasir": Preset("polyp", (Layout(("Kvasir-SEG/images",), ("Kvasir-SEG/masks",)),), (*PLAIN_SECTIONS, *PLAIN)),
    "polyp": Preset(
        "polyp",
        (
            Layout(
                ("TrainDataset/images", "TrainDataset/image"), ("TrainDataset/masks", "TrainDataset/mask"), "training"
            ),
            *_polyp_tests(),
        ),
        expected="TrainDataset/images with TrainDataset/masks, and TestDataset/Kvasir/images ... (PraNet)",
    ),
    "sunseg": Preset(
        "polyp",
        (Layout(("TrainDataset/Frame",), ("TrainDataset/GT",), "training", "Train", nested=True), *_sun_seg_tests()),
        patient=r"/(case\d+)",
        expected="TrainDataset/Frame/case1_1/*.jpg with TrainDataset/GT/case1_1/*.png, TestEasyDataset/Seen/Frame ...",
    ),
    "tiktok": Preset(
        "person",
        (
            Layout(
                ("segmentation_full_body_tik_tok_2615_img/images",), ("segmentation_full_body_tik_tok_2615_img/masks",)
            ),
        ),
        PLAIN,
    ),
    "human": Preset(
        "person",
        (Layout(("Training_Images",), ("Ground_Truth",)),),
        PLAIN,
        expected="Training_Images/1.jpg with Ground_Truth/1.png, or images/ and labels/",
    ),
}
