"""What classes are called in SNOMED CT, looked up in pydicom's dictionary by its own keywords."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# name of a class, lower case -> pydicom's keyword; "right" and "left" before a name are told apart by a modifier
ANATOMY: dict[str, str] = {
    "adrenal gland": "AdrenalGland",
    "aorta": "Aorta",
    "bladder": "Bladder",
    "brain": "Brain",
    "colon": "Colon",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "gallbladder": "Gallbladder",
    "gland": "BodyTissueStructure",  # the dictionary names glands one by one, none of all
    "heart": "Heart",
    "hippocampus": "Hippocampus",
    "inferior vena cava": "InferiorVenaCava",
    "kidney": "Kidney",
    "liver": "Liver",
    "lung": "Lung",
    "lv": "LeftVentricle",
    "left ventricle": "LeftVentricle",
    "myo": "LeftVentricleMyocardium",
    "myocardium": "LeftVentricleMyocardium",
    "nucleus": "Nucleus",
    "pancreas": "Pancreas",
    "person": "EntireBody",
    "prostate": "Prostate",
    "rv": "RightVentricle",
    "right ventricle": "RightVentricle",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "vessel": "BloodVessel",
}
MORPHOLOGY: dict[str, str] = {
    "cyst": "Cyst",
    "lesion": "Lesion",
    "neoplasm": "Neoplasm",
    "polyp": "PolypOfColon",
    "skin lesion": "SkinLesion",
    "tumor": "Neoplasm",
    "tumour": "Neoplasm",
}
YOUNGER = {"Nucleus": ("84640000", "Nucleus")}  # in pydicom from 3 on; MONAI Label needs a version before
SIDES = {"right": "Right", "left": "Left"}
STRUCTURE = ("123037004", "Anatomical Structure")
ABNORMAL = ("49755003", "Morphologically Abnormal Structure")


@dataclass(frozen=True)
class Term:
    """A class in SNOMED CT: pydicom `Code`s.

    Args:
        category: anatomical structure, or an abnormal one.
        type: which; the category itself where the dictionary has no term for the class.
        side: right or left, of a paired organ.
    """

    category: Any
    type: Any
    side: Any = None


def term_of(name: str) -> Term:
    """The term of a class by its name, in any case, words parted by spaces, underscores or hyphens."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    words = name.lower().replace("_", " ").replace("-", " ").split()
    anatomy, abnormal = (Code(value, "SCT", meaning) for value, meaning in (STRUCTURE, ABNORMAL))
    for category, table in ((anatomy, ANATOMY), (abnormal, MORPHOLOGY)):
        if keyword := table.get(" ".join(words)):
            return Term(category, _code(keyword))
    if len(words) > 1 and words[0] in SIDES and (keyword := ANATOMY.get(" ".join(words[1:]))):
        return Term(anatomy, _code(keyword), getattr(codes.SCT, SIDES[words[0]]))
    return Term(anatomy, anatomy)


def _code(keyword: str) -> Any:
    """The code of a keyword in pydicom's dictionary, the same whatever its version."""
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    if keyword in YOUNGER:
        value, meaning = YOUNGER[keyword]
        return Code(value, "SCT", meaning)
    return getattr(codes.SCT, keyword)
