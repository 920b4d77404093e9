"""The mean of two methods: measured from what both kept, trained, put together, served and refined."""

import json
import shutil

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from amsam_monai import load, refine, train
from amsam_monai.auto.averaging import Averaging, Keeping
from amsam_monai.auto.cases import cases_that_train
from amsam_monai.auto.fingerprint import ClassFacts, Fingerprint
from amsam_monai.auto.methods import build_mean
from amsam_monai.auto.plan import Choice, Plan, choose
from amsam_monai.bundles.load import load_bundle, read_config
from amsam_monai.bundles.members import join_models, split_model
from amsam_monai.bundles.model_file import read_model
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.refining import REFINE
from amsam_monai.bundles.run import bundle_workflow, run_training
from amsam_monai.data.datasets.own import find_own
from amsam_monai.data.files.images import read_image, read_label
from amsam_monai.handlers.checkpoints import save_adapter
from amsam_monai.networks.sam import build_sam
from amsam_monai.phantoms.sets import write_phantoms
from amsam_monai.segment.segmenter import Segmenter
from amsam_monai.session.image import load_source

FACTS = ClassFacts(cases=4, slices=1.0, share=0.2, thickness=0.3, objects=1.0)
QUICK = {"side": 64, "steps": 4, "method": "plain+aisam"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pictures, a SAM, and the bundle of the mean of two networks that were not trained."""
    root = tmp_path_factory.mktemp("mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMSAM_CACHE", str(root / "cache"))
        list(write_phantoms("isic", root / "skin", cases=4, side=48))
        torch.manual_seed(0)
        torch.save(build_sam("vit_nano", image_size=64).state_dict(), root / "nano_sam.pth")
        seen = Fingerprint("picture", 4, 4, True, 48, 1, None, (0, 255), (0, 255), {"foreground": FACTS})
        sam = {"backbone": Choice(sam_of(root), "")}
        plan = Plan("mine", {"foreground": 1}, seen.to_mapping(), choose(seen, side=64) | sam, [], [])
        build_mean(plan, ["plain", "aisam"], root / "mine")
        files = []
        for member in ("plain", "aisam"):
            settings = read_config(root / "mine" / "members" / member / "configs" / "train.yaml")["settings"]
            files.append(root / f"{member}.pt")
            recipe = {"name": "mine", "version": "0.2.0"}
            save_adapter(build_network(settings), files[-1], half=True, settings=settings, recipe=recipe)
        join_models(files, root / "mine" / "models" / "model.pt")
        yield root


def sam_of(root):
    return {"backbone": "vit_nano", "weights": str(root / "nano_sam.pth")}


@pytest.mark.slow
def test_both_are_trained_for_half_of_the_steps_and_the_report_says_so(made, tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    told = []
    trained = train(made / "skin", tmp_path / "ours", sam=sam_of(made), folds=2, say=told.append, **QUICK)
    assert trained.method == "plain+aisam"
    assert trained.plan.steps["half"] == {"plain": 2, "aisam": 2}
    assert [line for line in told if "training on" in line] == [
        "plain: training on 4 cases, 2 steps",
        "aisam: training on 4 cases, 2 steps",
    ]
    model = read_model(trained.root / "models" / "model.pt")
    assert [one["system"] for one in model.settings.arguments["members"]] == ["amsam", "aisam"]
    assert "agreement" not in model.settings.quality["case"]["features"]  # with mirror images, which was not kept
    assert model.settings.limits["cases"] == 4
    report = (trained.root / "report" / "plan.md").read_text(encoding="utf-8")
    assert "| plain+aisam | 2 |" in report
    assert "their probabilities are averaged" in report
    assert not (trained.root / ".trials").exists()
    steps = json.loads((trained.root / "plan.json").read_text(encoding="utf-8"))["steps"]
    parts = (("early", 1), ("trial", 1), ("final", 4), ("half", 2))
    assert steps == {part: {"plain": n, "aisam": n} for part, n in parts}


def test_the_answer_is_the_mean_of_the_members_at_every_door(made, tmp_path):
    bundle = made / "mine"
    image = next(iter(sorted((made / "skin" / "images").iterdir())))
    split = split_model(bundle / "models" / "model.pt", [tmp_path / n / "model.pt" for n in "ab"])
    shares = [load(file).segment(image, probabilities=True).probabilities for file in split]
    whole = load(bundle).segment(image, probabilities=True)
    flips = load_bundle(bundle, device="cpu").slices["flips"]
    assert flips == ["horizontal", "vertical"]  # means of means are means
    np.testing.assert_allclose(whole.probabilities, (shares[0] + shares[1]) / 2, atol=1e-5)
    session = load(bundle).session()
    session.open(image)
    session.segment("all")
    np.testing.assert_array_equal(session.label, whole.label)
    assert session.segment(0).presence["foreground"] < 1
    session.add_point("foreground", (20, 20))
    assert session.segment(0).presence["foreground"] == 1  # as the member that tells it has it from a person
    _infer(bundle, image.parent, tmp_path / "out")
    written = read_label(tmp_path / "out" / f"{image.stem}.png").array
    np.testing.assert_array_equal(written, whole.written())


def _infer(root, images, out):
    workflow = ConfigWorkflow(
        config_file=str(root / "configs" / "inference.yaml"),
        meta_file=str(root / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(root),
        dataset_dir=str(images),
        output_dir=str(out),
    )
    workflow.initialize()
    assert workflow.check_properties() in ([], None)
    workflow.run()
    workflow.finalize()


@pytest.mark.slow
def test_its_configs_train_both_members_and_score_the_mean(made, tmp_path, monkeypatch):
    bundle = made / "mine"
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    cases = cases_that_train(find_own(made / "skin"), None)
    told = {"datalist": {"train": cases[:3], "val": [], "test": cases[3:]}, "root": tmp_path}
    result = run_training(bundle, overrides={"max_epochs": 1, "steps_per_epoch": 1}, **told)
    assert len(result.losses) == 2  # one a member
    model, before = read_model(result.weights), read_model(bundle / "models" / "model.pt")
    assert model.settings.arguments == before.settings.arguments
    assert model.adapter.keys() == before.adapter.keys()
    assert model.made["recipe"] == before.made["recipe"]
    assert not (tmp_path / "eval" / "members").exists()
    with bundle_workflow(bundle, configs=("train", "evaluate"), **told) as workflow:
        assert workflow.check_properties() in ([], None)
        workflow.run()
        workflow.finalize()
    assert (tmp_path / "eval" / "scores" / "report.html").is_file()


def moved(old, new):
    """Which members have other weights."""
    return {name.split(".")[1] for name in old.adapter if not torch.equal(old.adapter[name], new.adapter[name])}


@pytest.mark.slow
def test_each_member_is_refined_by_its_own_bundle(made, tmp_path, monkeypatch):
    bundle = made / "mine"
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    shutil.copytree(bundle / "models", tmp_path / "models")
    cases = {"train": cases_that_train(find_own(made / "skin"), None), "val": [], "test": []}
    few = {"max_epochs": 1, "steps_per_epoch": 2}
    result = run_training(bundle, configs=REFINE, datalist=cases, root=tmp_path, overrides=few)
    old, new = (read_model(folder / "models" / "model.pt") for folder in (bundle, tmp_path))
    assert moved(old, new) == {"0", "1"}
    assert max(float((old.adapter[n].float() - new.adapter[n].float()).abs().max()) for n in old.adapter) < 0.01
    assert (new.settings, result.weights) == (old.settings, tmp_path / "models" / "model.pt")


@pytest.mark.slow
def test_a_mean_goes_on_from_a_bundle(made, tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    refined = refine(made / "skin", made / "mine", tmp_path / "again", steps=2, folds=2)
    old, new = (read_model(folder / "models" / "model.pt") for folder in (made / "mine", tmp_path / "again"))
    assert moved(old, new) == ({"0", "1"} if refined.better else set())
    load_bundle(tmp_path / "again", device="cpu")


@pytest.mark.slow
def test_without_folds_a_told_mean_is_trained_at_once_and_goes_on_after_a_stop(made, tmp_path, monkeypatch):
    monkeypatch.setenv("AMSAM_CACHE", str(tmp_path / "cache"))
    from amsam_monai.auto import last_training as module

    told, original = [], module.train_method

    def stop_at_the_second(bundle, method, *args, **options):
        if method == "aisam":
            raise KeyboardInterrupt
        return original(bundle, method, *args, **options)

    whole = train(made / "skin", tmp_path / "whole", sam=sam_of(made), folds=0, **QUICK)
    with monkeypatch.context() as broken:
        broken.setattr(module, "train_method", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            train(made / "skin", tmp_path / "again", sam=sam_of(made), folds=0, **QUICK)
    again = train(made / "skin", tmp_path / "again", sam=sam_of(made), folds=0, say=told.append, **QUICK)
    assert not any(line.startswith("plain: training") for line in told)  # it was trained before
    assert any(line.startswith("aisam: training") for line in told)
    first, second = (read_model(one.root / "models" / "model.pt").adapter for one in (whole, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


class Bright(nn.Module):
    """Class 1 the surer, the brighter a pixel; with `faint`, hardly anywhere."""

    def __init__(self, slope=8.0, faint=None):
        super().__init__()
        self.slope, self.faint = slope, faint

    def forward(self, image, **_):
        own = self.slope * (image[:, 1] - 0.5)
        return torch.stack([torch.zeros_like(own), own if self.faint is None else own * 0 + self.faint], 1)


def test_what_was_kept_averages_to_the_mean_of_the_probabilities(tmp_path):
    """Both a volume that is stored upside down and a picture; masks, sums and labels are those of the mean."""
    affine = np.diag([-1.0, 1.0, -5.0, 1.0])
    rng = np.random.default_rng(0)
    volume = load_source(rng.integers(0, 255, (24, 20, 5)).astype(np.int16), affine)
    plan = Plan("x", {"bright": 1}, {"kind": "volume"}, {"axis": Choice("axial", "")}, [], [])
    slices = {"axis": "axial"}
    shares = []
    for number, slope in enumerate((8.0, -5.0)):
        segment = Segmenter(Bright(slope), {1: "bright"}, intensity={"mode": "min_max"}, slices=slices)
        Keeping(segment, tmp_path / str(number))(volume, quality=False)
        shares.append(segment(volume, probabilities=True).probabilities)
    averaged = Averaging([tmp_path / "0", tmp_path / "1"], plan)(volume, quality=True)
    mean = (shares[0] + shares[1]) / 2
    clear = np.abs(mean[1] - mean[0]) > 0.02  # 8 bits tell no more
    assert clear.mean() > 0.5
    np.testing.assert_array_equal(averaged.label[clear], mean.argmax(0)[clear])
    assert averaged.sums.shape[:2] == (5, 1)
    with pytest.raises(FileNotFoundError):
        Averaging([tmp_path / "2"], plan)(volume, quality=True)


def test_small_probabilities_add_up_to_what_they_were(tmp_path):
    picture = read_image(_picture(tmp_path))
    Keeping(Segmenter(Bright(faint=-7.0), {1: "bright"}), tmp_path / "kept")(picture, quality=False)
    plan = Plan("x", {"bright": 1}, {"kind": "picture"}, {}, [], [])
    sums = Averaging([tmp_path / "kept"], plan)(picture, quality=True).sums
    mass = float(torch.tensor(-7.0).sigmoid()) * 64 * 48
    assert sums[0, 0, 1] == pytest.approx(mass, rel=0.15)


def _picture(folder):
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder / "picture.png"
