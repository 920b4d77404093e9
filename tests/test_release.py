"""A release of a tiny repository: what stops it, what it makes, and that the same commit makes the same."""

import hashlib
import importlib.util
import re
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pytest

from scripts.release import main

pytestmark = pytest.mark.skipif(importlib.util.find_spec("uv") is None, reason="needs uv, which `make` installs")

# A build backend of a few lines, so that nothing comes from the network: all of a folder's folders, under a name
BACKEND = """
import zipfile
from pathlib import Path

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "{name}-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory, name), "w") as archive:
        for path in sorted(Path().glob("*_segmentation/*/*.*")):
            if path.suffix in {endings}:
                archive.write(path, f"{name}/{{path.as_posix()}}")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny"
version = "0.1.0"
"""
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-31\n\n### Added\n- Everything.\n"
MAKEFILE = "sbom:\n\techo '{}' > dist/tiny.cdx.json\n"
ENDINGS = {".pt", ".json"}


def git(root, *arguments):
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root, **changes):
    for name, text in changes.items():
        (root / name.replace("__", ".")).write_text(text, encoding="utf-8")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "Change")


@pytest.fixture
def repository(tmp_path, monkeypatch):
    root = tmp_path / "tiny"
    bundle = root / "bundles" / "lung_segmentation"
    for folder in (bundle / "configs", bundle / "models", bundle / "eval"):
        folder.mkdir(parents=True)
    (bundle / "configs" / "metadata.json").write_text('{"version": "0.3.0"}', encoding="utf-8")
    (bundle / "models" / "model.pt").write_bytes(b"weights")
    for folder, name in ((root, "tiny"), (root / "bundles", "amsam_monai_bundles")):
        (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        (folder / "backend.py").write_text(BACKEND.format(name=name, endings=ENDINGS), encoding="utf-8")
    (root / ".gitignore").write_text("/dist/\n__pycache__/\n/bundles/*/eval/\n", encoding="utf-8")
    git(root, "init", "--quiet")
    git(root, "config", "user.name", "A")
    git(root, "config", "user.email", "a@example.org")
    commit(root, CHANGELOG__md=CHANGELOG, Makefile=MAKEFILE)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return root


def release(monkeypatch, root, *options):
    monkeypatch.setattr(sys, "argv", ["release.py", "--root", str(root), *options])
    main()


def made(root):
    return sorted(path.name for path in (root / "dist").iterdir())


WHEELS = ["amsam_monai_bundles-0.1.0-py3-none-any.whl", "tiny-0.1.0-py3-none-any.whl"]


def test_a_release_has_wheels_zips_sbom_sums_and_a_tag(repository, monkeypatch, capsys):
    release(monkeypatch, repository)
    assert made(repository) == sorted(["SHA256SUMS", "lung_segmentation_v0.3.0.zip", "tiny.cdx.json", *WHEELS])
    dist = repository / "dist"
    sums = dict(reversed(line.split()) for line in (dist / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    assert sums == {name: digest(dist / name) for name in made(repository) if name != "SHA256SUMS"}
    with zipfile.ZipFile(dist / "lung_segmentation_v0.3.0.zip") as archive:
        assert archive.read("lung_segmentation/models/model.pt") == b"weights"
        assert len(archive.namelist()) == 2
    assert git(repository, "cat-file", "-t", "v0.1.0") == "tag\n"
    assert git(repository, "rev-parse", "v0.1.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert "tagged v0.1.0; push it with: git push origin v0.1.0" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"the version must be above the newest tag's, 0\.1\.0, got 0\.1\.0: raise it"):
        release(monkeypatch, repository)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_dry_run_builds_tells_what_would_stop_it_and_makes_no_tag(repository, monkeypatch, capsys):
    (repository / "new.txt").write_text("not committed", encoding="utf-8")
    release(monkeypatch, repository, "--dry-run")
    assert made(repository) == sorted(["SHA256SUMS", "lung_segmentation_v0.3.0.zip", *WHEELS])
    assert git(repository, "tag") == ""
    said = capsys.readouterr().out
    assert "stops a release: the tree must be clean, got 1 changed or new files: commit them" in said
    assert "the SBOM is left to the release itself" in said
    assert "would be tagged v0.1.0" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CHANGELOG.replace("] - 2026-01-31", "]"), r'must have "## \[0\.1\.0\] - YYYY-MM-DD".*got \'\[0\.1\.0\]\''),
        (CHANGELOG.replace("2026-01-31", "9999-01-31"), "a day up to today.* got .*9999-01-31"),
        (CHANGELOG.replace("0.1.0", "0.0.9"), "must have .* got 'none'"),
        (CHANGELOG.partition("###")[0], "and what changed below"),
        (CHANGELOG.replace("Unreleased]", "Unreleased]\n- More."), r"\[Unreleased\] must be empty, got text"),
    ],
)
def test_a_changelog_without_a_dated_entry_stops_it(repository, monkeypatch, text, message):
    commit(repository, CHANGELOG__md=text)
    with pytest.raises(SystemExit, match=f"no release: CHANGELOG.md.*{message}"):
        release(monkeypatch, repository)
    assert not (repository / "dist").exists()


def test_the_entry_may_be_todays(repository, monkeypatch):
    commit(repository, CHANGELOG__md=re.sub(r"\d{4}-\d\d-\d\d", date.today().isoformat(), CHANGELOG))
    release(monkeypatch, repository)
    assert git(repository, "tag") == "v0.1.0\n"


def test_a_changed_file_stops_it(repository, monkeypatch):
    (repository / "Makefile").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="no release: the tree must be clean, got 1 changed"):
        release(monkeypatch, repository)


def test_a_version_that_is_none_stops_it(repository, monkeypatch):
    commit(repository, pyproject__toml=PROJECT.replace("0.1.0", "soon"))
    with pytest.raises(SystemExit, match=r"no release: pyproject\.toml must have a line such as version"):
        release(monkeypatch, repository)


def test_a_wheel_without_a_bundles_weights_stops_even_a_dry_run(repository, monkeypatch):
    text = BACKEND.format(name="amsam_monai_bundles", endings={".json"})
    (repository / "bundles" / "backend.py").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"must hold the bundles. files, got others for .*/models/model\.pt"):
        release(monkeypatch, repository, "--dry-run")


def test_a_file_that_is_not_the_repositorys_does_not_get_into_the_wheel_of_bundles(repository, monkeypatch):
    (repository / "bundles" / "lung_segmentation" / "eval" / "patient.json").write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"got others for .*lung_segmentation/eval/patient\.json"):
        release(monkeypatch, repository, "--dry-run")


def test_the_same_commit_gives_the_same_zips(repository, monkeypatch):
    found = []
    for _ in range(2):
        release(monkeypatch, repository, "--dry-run")
        found.append((repository / "dist" / "lung_segmentation_v0.3.0.zip").read_bytes())
        Path(repository, "bundles", "lung_segmentation", "models", "model.pt").touch()
    assert found[0] == found[1]
