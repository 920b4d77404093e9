"""Make a release in dist/: both wheels, a zip of each bundle, the SBOM, SHA256SUMS; then the tag.

python scripts/release.py --dry-run    tells what would stop a release, and builds all but the SBOM; no tag
python scripts/release.py              refuses unless the tree is clean, the version new and CHANGELOG.md dated

The SBOM lists what an environment with the wheel holds, so it installs torch; a dry run leaves it out. Nothing is
uploaded. uv builds the wheels; it must be installed. The same commit gives the same wheels and zips, byte for byte.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import date, datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = "amsam_monai_bundles"  # the folder in the wheel of bundles
SUMS = "SHA256SUMS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="no tag and no SBOM; what stops a release is told")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    arguments = parser.parse_args()
    try:
        release(arguments.root.resolve(), dry_run=arguments.dry_run)
    except ValueError as error:
        sys.exit(f"no release: {error}")


def release(root: Path, *, dry_run: bool) -> None:
    """Fill dist/ anew, and tag the commit.

    Raises:
        ValueError: something stops it; in a dry run only what was built wrongly.
    """
    version = version_of(root)
    stops = [*tree_stops(root), *version_stops(root, version), *changelog_stops(root, version)]
    for one in stops:
        print(f"stops a release: {one}")
    if stops and not dry_run:
        raise ValueError("; ".join(stops))
    dist = root / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    dist.mkdir()
    wheels = [build_wheel(root, root), build_wheel(root, root / "bundles")]
    check_bundles(root, wheels[1])
    for bundle in bundles_of(root):
        write_zip(root, bundle, dist)
    if dry_run:
        print("the SBOM is left to the release itself: it installs the wheel with all it needs")
    else:
        subprocess.run(["make", "--silent", "sbom"], cwd=root, check=True)
    write_sums(dist)
    for file in sorted(dist.iterdir()):
        print(f"{file.stat().st_size:>12,} {file.relative_to(root)}")
    if dry_run:
        print(f"a release would be tagged v{version}")
    else:
        git(root, "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
        print(f"tagged v{version}; push it with: git push origin v{version}")


def version_of(root: Path) -> str:
    """The version in pyproject.toml, which both wheels have.

    Raises:
        ValueError: there is none of three numbers.
    """
    found = re.search(r'^version = "(\d+\.\d+\.\d+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    if not found:
        raise ValueError('pyproject.toml must have a line such as version = "1.2.3", got none.')
    return found[1]


def tree_stops(root: Path) -> list[str]:
    changed = git(root, "status", "--porcelain").splitlines()
    return [f"the tree must be clean, got {len(changed)} changed or new files: commit them"] if changed else []


def version_stops(root: Path, version: str) -> list[str]:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(".")]

    tagged = [tag[1:] for tag in git(root, "tag").splitlines() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]
    newest = max(tagged, key=numbers, default="0.0.0")
    new = numbers(version) > numbers(newest)
    return [] if new else [f"the version must be above the newest tag's, {newest}, got {version}: raise it"]


def changelog_stops(root: Path, version: str) -> list[str]:
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    entries = re.split(r"^## ", text, flags=re.M)[1:]
    unreleased = "".join(entry.partition("\n")[2] for entry in entries if entry.startswith("[Unreleased]"))
    stops = ["CHANGELOG.md: [Unreleased] must be empty, got text: put it under the version"] * bool(unreleased.strip())
    entry = next((entry for entry in entries if entry.startswith(f"[{version}]")), "")
    head, _, body = entry.partition("\n")
    found = re.fullmatch(r"\[.*\] - (\d{4}-\d{2}-\d{2})", head.strip())
    if not found or not body.strip() or date.fromisoformat(found[1]) > datetime.now(timezone.utc).date():
        wanted = f'"## [{version}] - YYYY-MM-DD", a day up to today, and what changed below'
        stops.append(f"CHANGELOG.md must have {wanted}, got {head.strip() or 'none'!r}")
    return stops


def build_wheel(root: Path, folder: Path) -> Path:
    """The wheel of a folder with a pyproject.toml, in dist/; files are dated as the commit.

    Raises:
        ValueError: it does not build.
    """
    before = set((root / "dist").glob("*.whl"))
    command = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", str(root / "dist"), str(folder)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": git(root, "log", "-1", "--format=%ct")}
    shutil.rmtree(folder / "build", ignore_errors=True)  # modules that are gone would go along
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    made = sorted(set((root / "dist").glob("*.whl")) - before)
    if done.returncode or len(made) != 1:
        raise ValueError(f"{folder} must build as a wheel: {(done.stdout + done.stderr).strip()}")
    (root / "dist" / ".gitignore").unlink(missing_ok=True)  # uv's
    return made[0]


def bundles_of(root: Path) -> list[str]:
    return sorted({name.split("/")[1] for name in tracked(root) if name.endswith("/configs/metadata.json")})


def tracked(root: Path) -> list[str]:
    """Files of the bundles that the repository keeps, by their path in it."""
    names = git(root, "ls-files", "bundles/*/*").splitlines()
    return [name for name in names if (root / name).is_file()]


def check_bundles(root: Path, wheel: Path) -> None:
    """Make sure that the wheel holds the files of the bundles that the repository keeps, and no other.

    Raises:
        ValueError: one is missing, different or too many.
    """
    with zipfile.ZipFile(wheel) as archive:
        have = {name: archive.read(name) for name in archive.namelist() if name.startswith(f"{DATA}/")}
    want = {f"{DATA}/{name.removeprefix('bundles/')}": root / name for name in tracked(root)}
    wrong = have.keys() ^ want.keys() or {name for name in want if have[name] != want[name].read_bytes()}
    if wrong:
        raise ValueError(f"{wheel.name} must hold the bundles' files, got others for {', '.join(sorted(wrong)[:5])}.")


def write_zip(root: Path, bundle: str, dist: Path) -> Path:
    """NAME_vVERSION.zip of a bundle, as MONAI names them, with its folder inside."""
    metadata = json.loads((root / "bundles" / bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    path = dist / f"{bundle}_v{metadata['version']}.zip"
    seconds = max(int(git(root, "log", "-1", "--format=%ct")), 315_532_800)  # zip begins in 1980
    made = datetime.fromtimestamp(seconds, timezone.utc).timetuple()[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in tracked(root):
            if name.startswith(f"bundles/{bundle}/"):
                entry = zipfile.ZipInfo(name.removeprefix("bundles/"), made)
                entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
                archive.writestr(entry, (root / name).read_bytes())
    return path


def write_sums(dist: Path) -> None:
    """SHA256SUMS, which `sha256sum --check SHA256SUMS` reads."""
    lines = (f"{digest(file)}  {file.name}\n" for file in sorted(dist.iterdir()) if file.name != SUMS)
    (dist / SUMS).write_text("".join(lines), encoding="utf-8")


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"git {arguments[0]} must work in {root}: {done.stderr.strip()}")
    return done.stdout.strip()


if __name__ == "__main__":
    main()
