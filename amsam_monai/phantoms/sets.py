"""Phantom data sets in the layout of real ones, for demonstrations and tests, and as company of a few real lesions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from PIL import Image

from amsam_monai.data.files.atomic import whole_file
from amsam_monai.data.splits import split_sections
from amsam_monai.keys import CASE_ID, IMAGE, LABEL
from amsam_monai.phantoms.abdomen import abdomen
from amsam_monai.phantoms.heart import chest_scene, heart_image, heart_labels, oblique_affine, random_heart
from amsam_monai.phantoms.skin import skin_lesion

if TYPE_CHECKING:
    from torch import Tensor

FIRST_ISIC_ID = 9_000_001  # a range that the archive's challenge sets do not use


def lesion_phantoms(count: int, *, seed: int = 77, side: int = 224) -> list[tuple[Tensor, Tensor]]:
    """Dermoscopy phantoms in memory: images in [0, 1] and their masks, to mix into the training on a few real ones.

    Args:
        count: how many.
        seed: another seed gives other phantoms.
        side: longer side in pixels.

    Shape: (3, H, W) float32 and (1, H, W) 0 or 1, each.
    """
    import torch  # here, so that `amsam demo-data` starts without it

    pictures = [skin_lesion(np.random.default_rng([seed, case]), side) for case in range(count)]
    return [
        (torch.from_numpy(image).permute(2, 0, 1) / 255, torch.from_numpy(mask > 0).long()[None])
        for image, mask in pictures
    ]


def lesion_phantom_samples(count: int, **options: int) -> list[dict[str, Any]]:
    """`lesion_phantoms` as samples with "image", "label" and "case_id"; `options` are its own."""
    return [
        {IMAGE: image, LABEL: label, CASE_ID: f"phantom {case}"}
        for case, (image, label) in enumerate(lesion_phantoms(count, **options), 1)
    ]


def write_phantoms(
    kind: str, out: str | os.PathLike[str], *, cases: int = 8, seed: int = 0, side: int | None = None
) -> Iterator[Path]:
    """Write a phantom data set, case by case; yields what was just written, so that a caller can show progress.

    The same kind, seed, side and case number always give the same files; more cases only add to fewer.

    Args:
        kind: one of KINDS.
        out: folder; made if missing.
        cases: lesions, or patients.
        seed: another seed is another population.
        side: pixels of the longer side of an image or slice; None is the kind's own.

    Raises:
        ValueError: unknown kind, no cases, or a side below 32.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if cases < 1:
        raise ValueError(f"cases must be at least 1, got {cases}.")
    if side is not None and side < 32:
        raise ValueError(f"side must be at least 32 pixels, got {side}.")
    writer, default_side = KINDS[kind]
    return (writer(Path(out), case, seed, side or default_side) for case in range(cases))


def write_isic_case(out: Path, case: int, seed: int, side: int) -> Path:
    """One lesion as images/ISIC_*.jpg and labels/ISIC_*_segmentation.png (0 and 255)."""
    image, mask = skin_lesion(np.random.default_rng([seed, case]), side)
    name = f"ISIC_{FIRST_ISIC_ID + case:07d}"
    save_picture(image, out / "images" / f"{name}.jpg")
    save_picture(mask, out / "labels" / f"{name}_segmentation.png")
    return out / "images" / f"{name}.jpg"


def write_acdc_case(out: Path, case: int, seed: int, side: int) -> Path:
    """One patient as training/patientXXX/ with end-diastole, end-systole, their labels and Info.cfg."""
    rng = np.random.default_rng([seed, case])
    shape = (8 * round(side * rng.uniform(0.8, 1.0) / 8), side, int(rng.integers(6, 11)))
    heart, scene = random_heart(rng, min(1.0, side / 112)), chest_scene(rng, shape)
    affine, last = oblique_affine(rng, shape), int(rng.integers(8, 14))
    name = official_id("acdc", case)
    folder = out / "training" / name
    for frame, contraction in ((1, 0.0), (last, 1.0)):
        labels = heart_labels(heart, shape, contraction)
        image = heart_image(rng, labels, scene)
        save_volume(image, affine, folder / f"{name}_frame{frame:02d}.nii.gz")
        save_volume(labels, affine, folder / f"{name}_frame{frame:02d}_gt.nii.gz")
    group = "DCM" if heart.ejection < 0.2 else "NOR"
    info = {"ED": 1, "ES": last, "Group": group, "Height": 172.0, "NbFrame": 2 * last + 5, "Weight": 74.0}
    with whole_file(folder / "Info.cfg") as partial:
        partial.write_text("".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8")
    return folder


def write_synapse_case(out: Path, case: int, seed: int, side: int) -> Path:
    """One abdomen as img/imgNNNN.nii.gz and label/labelNNNN.nii.gz."""
    image, labels, affine = abdomen(np.random.default_rng([seed, case]), side)
    number = official_id("synapse", case).removeprefix("case")
    save_volume(image, affine, out / "img" / f"img{number}.nii.gz")
    save_volume(labels, affine, out / "label" / f"label{number}.nii.gz")
    return out / "img" / f"img{number}.nii.gz"


def official_id(dataset: str, case: int) -> str:
    """The id that the real set uses for one of its cases; a few phantoms have some of each official section.

    Two for training, then one of every other section, and so on; beyond the real set's size numbers go on from it.
    """
    sections = split_sections(dataset)
    queues = [iter(sections["training"]), *(iter(ids) for name, ids in sections.items() if name != "training")]
    order: list[str] = []
    while len(order) < sum(map(len, sections.values())):
        order += [one for queue in (queues[0], *queues) for one in islice(queue, 1)]
    if case < len(order):
        return order[case]
    prefix = order[0].rstrip("0123456789")
    width = len(order[0]) - len(prefix)
    highest = max(int(one.removeprefix(prefix)) for one in order)
    return f"{prefix}{highest + 1 + case - len(order):0{width}d}"


def save_picture(array: np.ndarray, path: Path) -> None:
    """Write a picture."""
    with whole_file(path) as partial:
        Image.fromarray(array).save(partial, quality=92)


def save_volume(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write a NIfTI file that states its affine twice, as scanners do, in millimetres."""
    volume = nibabel.Nifti1Image(array, affine)  # type: ignore[no-untyped-call]
    volume.header.set_xyzt_units("mm", "sec")
    volume.header["descrip"] = b"phantom by amsam_monai, no patient"
    volume.set_sform(affine, 1)
    volume.set_qform(affine, 1)
    with whole_file(path) as partial:
        nibabel.save(volume, partial)


# kind -> (writer of one case, pixels of the longer side)
KINDS: dict[str, tuple[Callable[[Path, int, int, int], Path], int]] = {
    "isic": (write_isic_case, 512),
    "acdc": (write_acdc_case, 192),
    "synapse": (write_synapse_case, 256),
}
