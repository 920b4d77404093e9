"""Python and the packages that amsam_monai needs, by what its own metadata says."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from amsam_monai.doctor.check import Check

DISTRIBUTION = "amsam-monai"
PURPOSES = {
    "detector": "AM-SAM with the detector `yolo` (AGPL-3.0); its detector `embedding` works without",
    "backbones": "AutoSAM's HarDNet-85",
    "outlines": "outlines of LabelMe and COCO",
    "annotate": "the web page",
    "label": "MONAI Label's server",
    "export": "ONNX files",
}
APART = {"label": "needs older packages than these: make an environment for it, as docs/monai_label.md shows"}


def python() -> Check:
    """The interpreter, against what the package asks for."""
    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    fits = Requirement(f"python{wanted}").specifier.contains(platform.python_version(), prereleases=True)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    mend = "" if fits else f"make an environment with Python {wanted}"
    return Check("packages", "python", "ok" if fits else "failed", found, mend)


def packages() -> Iterator[Check]:
    """Every package that is required, and every extra."""
    extras: dict[str, list[Requirement]] = {name: [] for name in PURPOSES}
    for line in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if _holds(requirement, ""):
            yield _of(requirement)
        for extra, wanted in extras.items():
            if requirement.marker and not _holds(requirement, "") and _holds(requirement, extra):
                wanted.append(requirement)
    for extra, wanted in extras.items():
        yield _of_extra(extra, wanted)


def _of(requirement: Requirement) -> Check:
    version = _version(requirement.name)
    if version is None:
        return Check("packages", requirement.name, "failed", "not installed", f'pip install "{_plain(requirement)}"')
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(
            "packages", requirement.name, "failed", f"{version} is installed, must be {requirement.specifier}",
            f'pip install "{_plain(requirement)}"',
        )  # fmt: skip
    return Check("packages", requirement.name, "ok", version)


def _of_extra(extra: str, wanted: list[Requirement]) -> Check:
    """Whether an extra's packages are all here."""
    missing = [one for one in wanted if (v := _version(one.name)) is None or not one.specifier.contains(v, True)]
    purpose = PURPOSES[extra]
    if not missing:
        return Check("extras", extra, "ok", f"installed, for {purpose}")
    names = " ".join(f'"{_plain(one)}"' for one in missing)
    return Check("extras", extra, "optional", f"not installed, for {purpose}", APART.get(extra, f"pip install {names}"))


def _holds(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is one of this machine, with an extra or without."""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"
