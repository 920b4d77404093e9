import hashlib

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from amsam_monai.data.datasets import acdc_datalist, isic_datalist, synapse_datalist
from amsam_monai.phantoms.heart import LV, MYOCARDIUM, RV, heart_labels, random_heart
from amsam_monai.phantoms.sets import KINDS, lesion_phantoms, official_id, write_phantoms
from amsam_monai.phantoms.skin import skin_lesion


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_seed_gives_the_same_bytes_and_more_cases_only_add(kind, tmp_path):
    list(write_phantoms(kind, tmp_path / "two", cases=2, side=48))
    list(write_phantoms(kind, tmp_path / "one", cases=1, side=48))
    list(write_phantoms(kind, tmp_path / "other", cases=1, seed=1, side=48))
    one, two, other = (digests(tmp_path / name) for name in ("one", "two", "other"))
    assert one.items() <= two.items()
    assert one.keys() == other.keys()
    assert one != other


def test_lesions_lie_in_the_isic_layout(tmp_path):
    list(write_phantoms("isic", tmp_path, cases=3, side=64))
    items = isic_datalist(tmp_path)
    assert [item["case_id"] for item in items] == ["ISIC_9000001", "ISIC_9000002", "ISIC_9000003"]
    assert set(np.unique(Image.open(items[0]["label"]))) == {0, 255}


def test_lesions_are_one_piece_of_a_sensible_size():
    shares = []
    for seed in range(12):
        image, mask = skin_lesion(np.random.default_rng(seed), 96)
        assert image.shape == (*mask.shape, 3)
        shares.append((mask > 0).mean())
    assert min(shares) > 0.02
    assert max(shares) < 0.5


def test_some_lesions_are_hard_to_tell_from_skin():
    contrasts = []
    for seed in range(12):
        image, mask = skin_lesion(np.random.default_rng(seed), 96)
        contrasts.append(abs(image[mask > 0].mean() - image[mask == 0].mean()))
    assert min(contrasts) < 20


def test_hearts_have_acdc_s_files_geometry_and_labels(tmp_path):
    list(write_phantoms("acdc", tmp_path, cases=1, side=64))
    items = acdc_datalist(tmp_path, section="training")
    assert [item["phase"] for item in items] == ["ED", "ES"]
    image = nibabel.load(items[0]["image"])
    assert np.allclose(image.header.get_zooms(), (1.5625, 1.5625, 10), atol=1e-4)
    assert (np.abs(image.affine[:3, :3]) > 1e-3).sum() > 6  # oblique
    assert np.allclose(image.get_qform(), image.affine, atol=1e-4)
    assert set(np.unique(np.asarray(nibabel.load(items[0]["label"]).dataobj))) == {0, 1, 2, 3}


def test_a_heart_empties_and_its_wall_thickens():
    heart = random_heart(np.random.default_rng(3))
    diastole, systole = (heart_labels(heart, (128, 128, 8), phase) for phase in (0.0, 1.0))
    assert (systole == LV).sum() < 0.9 * (diastole == LV).sum()
    assert (systole == RV).sum() < (diastole == RV).sum()
    wall = [(one == MYOCARDIUM).sum() / (one == LV).sum() for one in (diastole, systole)]
    assert wall[1] > wall[0]


def test_abdomens_have_thirteen_organs_on_their_true_side(tmp_path):
    list(write_phantoms("synapse", tmp_path, cases=1, side=96))
    item = synapse_datalist(tmp_path)[0]
    image, label = nibabel.load(item["image"]), nibabel.load(item["label"])
    values, ids = np.asarray(image.dataobj), np.asarray(label.dataobj)
    assert sorted(np.unique(ids)) == list(range(14))
    assert values.min() < -900
    assert 60 < values[ids == 6].mean() < 160  # liver in the portal phase, Hounsfield units

    def centre(organ):
        return nibabel.affines.apply_affine(label.affine, np.argwhere(ids == organ).mean(0))

    assert centre(6)[0] > 0 > centre(1)[0]  # RAS: liver to the right, spleen to the left
    assert centre(2)[0] > 0 > centre(3)[0]
    assert centre(8)[1] < centre(7)[1]  # aorta behind the stomach


def test_few_phantoms_have_some_of_every_official_section():
    assert [official_id("acdc", case) for case in range(4)] == ["patient001", "patient004", "patient019", "patient002"]
    ids = [official_id("synapse", case) for case in range(32)]
    assert len(set(ids)) == 32
    assert ids[-1] == "case0042"


def test_wrong_wishes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="kind must be one of isic, acdc, synapse, got 'brain'"):
        write_phantoms("brain", tmp_path)
    with pytest.raises(ValueError, match="cases must be at least 1, got 0"):
        write_phantoms("isic", tmp_path, cases=0)
    with pytest.raises(ValueError, match="side must be at least 32"):
        write_phantoms("isic", tmp_path, side=8)


def test_the_command_writes_and_says_where(tmp_path):
    from amsam_monai.cli.demo_data import app

    result = CliRunner().invoke(app, ["isic", str(tmp_path), "--cases", "1", "--side", "48"])
    assert result.exit_code == 0
    assert "1 isic phantom case(s)" in result.output
    assert not list(tmp_path.rglob(".partial*"))
    assert CliRunner().invoke(app, ["brain", str(tmp_path)]).exit_code == 1


def test_lesions_in_memory_are_images_with_binary_masks():
    (image, mask), *rest = lesion_phantoms(2, side=64)
    assert image.shape[0] == 3
    assert image.min() >= 0
    assert image.max() <= 1
    assert mask.shape == (1, *image.shape[1:])
    assert mask.unique().tolist() == [0, 1]
    assert len(rest) == 1
