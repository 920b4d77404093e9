"""ACDC: cine heart MR with right ventricle, myocardium and left ventricle at end-diastole and end-systole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from amsam_monai.data.datasets.cases import Case, Listing, Problem, files_in, folders_below, pair_up
from amsam_monai.data.datasets.checks import finish
from amsam_monai.data.datasets.sections import apply_split
from amsam_monai.data.files.labels import label_table
from amsam_monai.data.files.names import natural_key

FORMS = ("auto", "volume", "slice")
FOLDER_SECTIONS = {"train": "training", "valid": "validation", "val": "validation", "test": "test"}

PATIENT = re.compile(r"patient\d+")
FRAME = re.compile(r"(patient\d+)_frame(\d+)(_gt)?\.nii(?:\.gz)?")
KNOWN_REST = re.compile(r".*_4d\.nii(\.gz)?|Info\.cfg|.*\.(md|txt|pdf)", re.IGNORECASE)
MT_UNET = re.compile(r"case_?0*(\d+)_(slice|volume)_?(ED|ES)(?:_(\d+))?\.npz")
SSL4MIS = re.compile(r"(patient\d+)_frame(\d+)(?:_slice_(\d+))?\.h5")


def acdc_datalist(
    root: str | Path,
    *,
    section: str | None = None,
    split: str | Path | None = "official",
    form: str = "auto",
    check: str = "full",
    progress: bool = False,
) -> list[dict[str, Any]]:
    """ACDC as a MONAI datalist.

    Reads the owner's layout (patientXXX folders, also below training/ and testing/), MT-UNet's npz files
    (train/, valid/, test/) and SSL4MIS' h5 files (data/ and data/slices/, or ACDC_training_volumes and
    ACDC_training_slices).

    Args:
        root: folder of the data set.
        section: "training", "validation", "test"; None for all.
        split: "official" (70/10/20 patients, as AI-SAM and MT-UNet), "ssl4mis", "challenge", a JSON file, or None.
        form: "volume" or "slice" for copies that hold both; "auto" takes slices to train on, volumes for the rest.
        check: "full" reads every file once, "names" trusts what they hold.
        progress: show a bar while reading.

    Raises:
        FileNotFoundError: no such folder, or nothing of ACDC in it.
        DatasetError: offending files, all of them.
    """
    listing = find_acdc(root, split=split, form=form)
    return finish(listing, section=section, check=check, progress=progress)


def find_acdc(root: str | Path, *, split: str | Path | None = "official", form: str = "auto") -> Listing:
    """ACDC's cases as they lie on disk, in any of the three layouts."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}.")
    root, listing = Path(root), Listing("acdc", label_table("acdc"), [])
    for folder in folders_below(root, 3):
        if PATIENT.fullmatch(folder.name):
            add_patient(listing, folder)
        else:
            add_arrays(listing, folder)
    if not listing.cases and not listing.problems:
        raise FileNotFoundError(
            f"{root}: no ACDC here; expected folders patient001, patient002 ... with patient001_frame01.nii.gz and "
            "patient001_frame01_gt.nii.gz, or npz or h5 files made from them (MT-UNet, SSL4MIS)."
        )
    listing.cases.sort(key=lambda case: natural_key(case.case_id))
    apply_split(listing, "acdc", split)
    choose_form(listing, form)
    return listing


def add_patient(listing: Listing, folder: Path) -> None:
    """Frames of one patient's folder, with their labels and, where Info.cfg says so, their phase."""
    images: dict[str, list[Path]] = {}
    labels: dict[str, list[Path]] = {}
    for name in files_in(folder):
        match = FRAME.fullmatch(name)
        if match is None:
            if not KNOWN_REST.fullmatch(name):
                listing.notes.append(f"{folder / name} is no frame of ACDC and was passed over")
        elif match[1] != folder.name:
            listing.problems.append(Problem(folder / name, f"must lie in the folder {match[1]}, not {folder.name}."))
        else:
            key = f"{match[1]}_frame{int(match[2]):02d}"
            (labels if match[3] else images).setdefault(key, []).append(folder / name)
    pairs, problems = pair_up(images, labels)
    listing.problems += problems
    phases = read_phases(listing, folder, {int(key[-2:]) for key in images})
    for key, image, label in pairs:
        frame = int(key.rsplit("frame", 1)[1])
        extra = {"frame": frame, "phase": phases.get(frame, "")}
        listing.cases.append(Case(image, label, key, folder.name, None, "table", extra))
    if not pairs and not problems:
        listing.problems.append(Problem(folder, "must hold frames such as patient001_frame01.nii.gz, got none."))


def read_phases(listing: Listing, folder: Path, frames: set[int]) -> dict[int, str]:
    """Frame number to "ED" or "ES", from Info.cfg; empty where there is none."""
    path = folder / "Info.cfg"
    if not path.is_file():
        return {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        listing.problems.append(Problem(path, error.strerror or "cannot be read."))
        return {}
    phases = {int(m[2]): m[1] for m in re.finditer(r"^\s*(ED|ES)\s*:\s*(\d+)", text, re.MULTILINE)}
    if lost := sorted(set(phases) - frames):
        listing.problems.append(Problem(path, f"names frame {lost[0]} as {phases[lost[0]]}, which is not there."))
    return phases


def add_arrays(listing: Listing, folder: Path) -> None:
    """Cases of a folder of npz or h5 files; each file holds image and label."""
    section = FOLDER_SECTIONS.get(folder.name.lower())
    for name in files_in(folder):
        if match := MT_UNET.fullmatch(name):
            patient, phase = f"patient{int(match[1]):03d}", match[3]
            case_id, number = f"{patient}_{phase}", match[4]
            extra: dict[str, Any] = {"phase": phase}
        elif match := SSL4MIS.fullmatch(name):
            patient, number = match[1], match[3]
            case_id, extra, section = f"{patient}_frame{int(match[2]):02d}", {"frame": int(match[2])}, None
        else:
            continue
        extra["form"] = "volume" if number is None else "slice"
        if number is not None:
            case_id, extra["slice"] = f"{case_id}_slice{int(number):03d}", int(number)
        listing.cases.append(Case(folder / name, folder / name, case_id, patient, section, "table", extra))


def choose_form(listing: Listing, form: str) -> None:
    """Leave out slices or volumes where a copy holds both of the same patient, and say how many."""
    slices = {case.patient_id for case in listing.cases if case.extra.get("form") == "slice"}
    volumes = {case.patient_id for case in listing.cases if case.extra.get("form") == "volume"}

    def wanted(case: Case) -> bool:
        mine = case.extra.get("form")
        if form != "auto":
            return mine in (form, None)
        if case.patient_id not in slices & volumes:
            return True
        return mine == ("slice" if case.section == "training" else "volume")

    kept = [case for case in listing.cases if wanted(case)]
    if len(kept) < len(listing.cases):
        left = len(listing.cases) - len(kept)
        listing.notes.append(f"{left} files show slices or volumes of the other form (form={form}) and were left out")
    listing.cases = kept
