import hashlib

import pytest
from typer.testing import CliRunner

from amsam_monai.cli import app
from amsam_monai.networks.weights.catalogue import CATALOGUE, Weights

CONTENT = b"weights" * 100


@pytest.fixture
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("AMSAM_WEIGHTS", str(tmp_path))
    digests = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
    monkeypatch.setitem(CATALOGUE, "toy", Weights("toy", "toy.pt", (), "MIT", "nothing", digests, len(CONTENT)))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


def test_list_shows_every_entry_and_what_is_here(folder):
    (folder / "toy.pt").write_bytes(CONTENT)
    result = run("list")
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if len(line.split()) > 3}
    assert set(CATALOGUE) <= set(rows)
    assert "yes" in rows["toy"]
    assert "yes" not in rows["mobile_sam"]


def test_path_prints_the_file(folder):
    (folder / "toy.pt").write_bytes(CONTENT)
    result = run("path", "toy")
    assert result.exit_code == 0
    assert result.stdout.strip() == str(folder / "toy.pt")


def test_path_of_missing_weights_leaves_with_one_and_says_what_goes_where(folder):
    result = run("path", "mobile_sam")
    assert result.exit_code == 1
    assert str(folder / "mobile_sam.pt") in result.stderr
    assert "Traceback" not in result.output


def test_fetch_offline_checks_what_is_here(folder):
    (folder / "toy.pt").write_bytes(CONTENT)
    assert run("fetch", "toy", "--offline").stdout.strip() == str(folder / "toy.pt")
    missing = run("fetch", "--offline")  # the default set
    assert missing.exit_code == 1
    assert str(folder / "mobile_sam.pt") in missing.stderr


def test_an_unknown_name_is_one_clear_line(folder):
    result = run("fetch", "sam_vit_x")
    assert result.exit_code == 1
    assert "got 'sam_vit_x'" in result.stderr


def test_verify_leaves_with_one_for_a_wrong_file_and_shows_both_digests(folder):
    (folder / "toy.pt").write_bytes(CONTENT)
    good = run("verify")
    assert good.exit_code == 0
    assert "toy.pt: ok" in good.stdout
    (folder / "toy.pt").write_bytes(CONTENT[::-1])
    bad = run("verify")
    assert bad.exit_code == 1
    for content in (CONTENT, CONTENT[::-1]):
        assert hashlib.sha256(content).hexdigest() in bad.stderr


def test_verify_of_an_empty_folder_says_so(folder):
    result = run("verify")
    assert result.exit_code == 0
    assert f"no weights in {folder}" in result.stdout.replace("\n", "")


def test_verify_of_named_missing_weights_leaves_with_one(folder):
    assert run("verify", "toy").exit_code == 1
