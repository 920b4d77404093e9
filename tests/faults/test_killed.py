"""A process that is killed at any of its writes leaves whole files alone, and the same command ends the work."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.run import run_training
from amsam_monai.data.embeddings.cache import EmbeddingCache
from amsam_monai.data.files.images import read_label
from amsam_monai.data.prepare.prepare import prepare
from amsam_monai.evaluation.pairs import find_pairs
from amsam_monai.label_app.training import TrainOptions, train_bundle
from amsam_monai.segment.batch import BatchSegmenter, Extras, plan
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.session.files import restore_session
from tests.bundles.runs import adapter_of
from tests.data.tiny_sets import isic_pair, picture
from tests.faults.children import FORK, kill_at_every_write
from tests.label_app.test_training import balls
from tests.label_app.trainable_bundle import write_trainable_bundle
from tests.segment.toy import LABELS, Toy, phantom
from tests.session.test_session import opened

pytestmark = [pytest.mark.skipif(FORK is None, reason="needs fork"), pytest.mark.usefixtures("one_thread")]


SOME = pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.slow)])


def contents(folder):
    """Every file below a folder that is not hidden."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# Caching


def fill(folder):
    images = list(torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    store = EmbeddingCache(folder, fingerprint={"weights_sha256": "abc"})
    store.fill(images, lambda batch: torch.nn.functional.avg_pool2d(batch, 4), batch_size=2, progress=False)


@SOME
def test_no_embedding_of_a_cache_is_a_part(step, tmp_path):
    fill(tmp_path / "whole")
    wanted, deaths = contents(tmp_path / "whole"), 0
    for number in kill_at_every_write(tmp_path, fill, tmp_path / "cache", step=step):
        found = contents(tmp_path / "cache") if (tmp_path / "cache").exists() else {}
        assert found.items() <= wanted.items(), number
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        deaths += 1
    assert contents(tmp_path / "cache") == wanted
    assert deaths * step > 10
    assert all(load_file(path)["embedding"].isfinite().all() for path in (tmp_path / "cache").rglob("*.safetensors"))


# Preparing


def prepared(source, out):
    return prepare("isic", source, out, sheet_cases=1)


@SOME
@pytest.mark.parametrize("again", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_data_set_is_prepared_by_the_same_command_after_any_death(again, step, tmp_path):
    for stem in ("ISIC_0000001", "ISIC_0000002"):
        isic_pair(tmp_path / "data", stem)
    prepared(tmp_path / "data", tmp_path / "whole")
    wanted, out, deaths = contents(tmp_path / "whole"), tmp_path / "out", 0
    for number in kill_at_every_write(out, prepared, tmp_path / "data", out, step=step):
        if (out / "dataset.json").is_file():
            cases = json.loads((out / "dataset.json").read_text(encoding="utf-8"))["training"]
            assert all((out / case["label"]).is_file() for case in cases) or (out / ".amsam-prepare").exists(), number
        prepared(tmp_path / "data", out)
        assert contents(out) == wanted, number
        assert not [path for path in out.rglob(".*") if path.name.startswith((".partial", ".old", ".amsam"))]
        if not again:
            shutil.rmtree(out)
        deaths += 1
    assert deaths * step > 8


# Segmenting


def segment(source, out, resume=False):
    """Masks with all that goes beside them, and what became of each input."""
    batch = BatchSegmenter(Segmenter(Toy(), LABELS, intensity={"mode": "min_max"}), extras=Extras(True, True, True))
    batch.resume = resume
    with torch.no_grad():
        return [batch(job).status for job in plan(source, out)]


@SOME
def test_what_a_run_left_is_whole_and_resume_makes_the_rest(step, tmp_path):
    source = tmp_path / "in"
    picture(source / "a.png", 8, 8)
    nib.save(phantom((8, 6, 2)), source / "b.nii.gz")
    segment(source, tmp_path / "whole")
    wanted, out, deaths = contents(tmp_path / "whole"), tmp_path / "out", 0
    for number in kill_at_every_write(out, segment, source, out, step=step):
        found = contents(out) if out.exists() else {}
        assert found.keys() <= wanted.keys(), number
        assert all(same(name, content, wanted[name]) for name, content in found.items()), number
        finished = sum(name in found for name in ("a.png", "b.nii.gz"))
        assert segment(source, out, resume=True).count("skipped") == finished
        assert contents(out).keys() == wanted.keys()
        shutil.rmtree(out)
        deaths += 1
    assert deaths * step > 12


def same(name, content, wanted):
    """Whether two files hold the same; a gzip file also tells when it was written."""
    if name.endswith(".gz"):
        return gzip.decompress(content) == gzip.decompress(wanted)
    return content == wanted or name.endswith(".npz")


def test_leftovers_of_a_killed_run_are_no_inputs(tmp_path):
    picture(tmp_path / "in" / "a.png", 8, 8)
    picture(tmp_path / "in" / ".partial-12-12-b.png", 8, 8)
    assert [job.source.name for job in plan(tmp_path / "in", tmp_path / "out")] == ["a.png"]
    assert len(find_pairs(tmp_path / "in", tmp_path / "in")) == 1


# Saving


@SOME
def test_a_saved_session_is_the_one_before_or_the_new_one(step, tmp_path):
    session = opened()
    session.segment(0)
    first = np.array(session.label)
    session.save(tmp_path / "before" / "case.nii.gz")
    session.segment("all")
    folder = tmp_path / "now"
    for number in kill_at_every_write(folder, session.save, folder / "case.nii.gz", step=step):
        label = read_label(folder / "case.nii.gz").array if (folder / "case.nii.gz").is_file() else first
        assert label.tolist() in (first.tolist(), session.label.tolist()), number
        if (folder / "case.session.json").is_file():
            other = opened()
            restore_session(other, folder / "case.nii.gz")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "before", folder)
    np.testing.assert_array_equal(read_label(folder / "case.nii.gz").array, session.label)


# Training


def entries(folder):
    return [
        {"image": str(case.image), "label": str(case.label), "label_rule": "table", "case_id": case.case_id}
        for case in balls(folder, 2)
    ]


def train(bundle, cases, out):
    run_training(
        bundle,
        datalist={"train": cases, "val": cases[:1], "test": []},
        root=out,
        overrides={"max_epochs": 2, "batch_size": 2, "steps_per_epoch": 1, "val_interval": 1},
    )


@pytest.mark.slow
def test_a_training_that_is_killed_at_any_write_goes_on_to_the_same_model(tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    bundle, cases = write_trainable_bundle(tmp_path, "amsam", classes="{ball: 1}"), entries(tmp_path)
    train(bundle, cases, tmp_path / "whole")
    wanted, out, deaths = adapter_of(tmp_path / "whole"), tmp_path / "out", 0
    for number in kill_at_every_write(out, train, bundle, cases, out, step=2):
        if (out / "models" / "model.pt").is_file():
            read_model(out / "models" / "model.pt")
        train(bundle, cases, out)
        found = adapter_of(out)
        assert all(torch.equal(value, found[name]) for name, value in wanted.items()), number
        assert not (out / "eval" / "train_state.pt").exists()
        shutil.rmtree(out)
        deaths += 1
    assert deaths > 5


@pytest.mark.slow
def test_a_served_bundle_has_a_whole_model_whenever_its_training_is_killed(tmp_path):
    bundle, cases = write_trainable_bundle(tmp_path, "amsam"), balls(tmp_path, 2)
    before = (bundle / "models" / "model.pt").read_bytes()
    options = TrainOptions(max_epochs=1, steps_per_epoch=1, val_split=0)
    deaths = 0
    for number in kill_at_every_write(bundle, train_bundle, bundle, cases, options):
        now = (bundle / "models" / "model.pt").read_bytes()
        read_model(bundle / "models" / "model.pt")
        if now != before:
            kept = list((bundle / "models" / "previous").iterdir())
            assert before in [path.read_bytes() for path in kept], number
        deaths += 1
    assert deaths > 1
