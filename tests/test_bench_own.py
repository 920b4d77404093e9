"""The benchmark of one's own tasks: which cases train, what rows see of a task, how they are scored, and resumed."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from amsam_monai import train
from amsam_monai.cli.segment import app as segment_app
from amsam_monai.data.datasets.own import own_datalist

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))
import bench_own  # noqa: E402
from benchmarks.own import nnunet, unet  # noqa: E402
from benchmarks.own.clock import Clock  # noqa: E402
from benchmarks.own.process import CommandError, Spent, run_measured  # noqa: E402
from benchmarks.own.rows import CommandRow, Run  # noqa: E402
from benchmarks.own.score import expected_of, score_folder  # noqa: E402
from benchmarks.own.table import make_table  # noqa: E402
from benchmarks.own.tasks import link_test, link_training, read_tasks  # noqa: E402
from benchmarks.own.unet_data import Samples, load, see  # noqa: E402
from benchmarks.own.unet_plan import plan_of  # noqa: E402

sys.path.remove(str(SCRIPTS))
VOLUMES = {"folder": "brain", "labels": {"3": "front lobe", "7": "stem"}, "train": ["b_1", "b_2"], "test": ["b_3"]}
PICTURES = {"folder": "skin", "labels": {"255": "spot"}, "train": ["s1", "s2"], "test": ["s3", "s4", "s5"]}


@pytest.fixture
def data(tmp_path):
    """Three volumes in the Decathlon's layout with values 3 and 7, five pictures with masks of 0 and 255."""
    rng = np.random.default_rng(0)
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / "brain" / part).mkdir(parents=True)
    for number in (1, 2, 3):
        label = np.zeros((16, 24, 16), np.uint8)
        label[4:9, 6:18, 4:12], label[10:14, 6:18, 4:12] = 3, 7
        image = (label * 20 + rng.normal(100, 5, label.shape)).astype(np.float32)
        affine = np.diag([1.5, 1.5, 1.5, 1.0])
        nib.save(nib.Nifti1Image(image, affine), tmp_path / f"brain/imagesTr/b_{number}.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), tmp_path / f"brain/labelsTr/b_{number}.nii.gz")
    listed = [{"image": f"./imagesTr/b_{n}.nii.gz", "label": f"./labelsTr/b_{n}.nii.gz"} for n in (1, 2, 3)]
    content = {"labels": {"0": "background", "3": "front lobe", "7": "stem"}, "training": listed, "numTraining": 3}
    (tmp_path / "brain/dataset.json").write_text(json.dumps(content), encoding="utf-8")
    for part in ("images", "labels"):
        (tmp_path / "skin" / part).mkdir(parents=True)
    for number in range(1, 6):
        mask = np.zeros((60, 80), np.uint8)
        mask[15:40, 20:60] = 255
        picture = np.where(mask[..., None] > 0, (90, 60, 50), (220, 190, 170)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"skin/images/s{number}.jpg")
        Image.fromarray(mask).save(tmp_path / f"skin/labels/s{number}_segmentation.png")
    return tmp_path


def tasks(data, **said):
    file = data / "tasks.json"
    file.write_text(json.dumps({"tasks": said or {"brain": VOLUMES, "skin": PICTURES}}), encoding="utf-8")
    return read_tasks(file, data)


def test_the_training_folder_holds_the_training_cases_alone_in_their_layout(data):
    brain, skin = tasks(data)
    listed = own_datalist(link_training(brain, data / "links"), labels=brain.labels)
    assert [item["case_id"] for item in listed] == ["b_1", "b_2"]
    assert json.loads((data / "links/dataset.json").read_text(encoding="utf-8"))["numTraining"] == 2
    listed = own_datalist(link_training(skin, data / "pictures"), labels=skin.labels)
    assert [item["case_id"] for item in listed] == ["s1", "s2"]
    assert sorted(path.name for path in link_test(skin, data / "test").iterdir()) == ["s3.jpg", "s4.jpg", "s5.jpg"]


def test_ids_that_no_case_has_and_cases_that_train_and_score_are_refused(data):
    with pytest.raises(ValueError, match="found none called b_9"):
        tasks(data, brain={**VOLUMES, "train": ["b_1", "b_9"]})
    with pytest.raises(ValueError, match="b_1 in both lists"):
        tasks(data, brain={**VOLUMES, "test": ["b_1"]})
    tasks(data)
    with pytest.raises(ValueError, match="among brain, skin, got heart"):
        read_tasks(data / "tasks.json", data, ["heart"])
    assert [item["case_id"] for item in read_tasks(data / "tasks.json", data, ["skin"], test_limit=2)[0].test] == [
        "s3",
        "s5",
    ]


def test_scores_follow_names_whatever_values_a_prediction_has(data):
    brain, _ = tasks(data)
    truth = nib.load(data / "brain/labelsTr/b_3.nii.gz")
    found = np.zeros(truth.shape, np.uint8)
    found[np.asarray(truth.dataobj) == 7] = 1
    found[4:9, 6:12, 4:12] = 2  # half of the front lobe: Dice 2/3
    (data / "out").mkdir()
    nib.save(nib.Nifti1Image(found, truth.affine), data / "out/b_3.nii.gz")
    scored = score_folder(brain, data / "out", {1: "stem", 2: "front lobe"})
    assert scored["classes"] == {"front lobe": pytest.approx(2 / 3), "stem": pytest.approx(1)}
    assert scored["dice"] == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="got cortex"):
        score_folder(brain, data / "out", {1: "cortex"})
    (data / "out/b_3.nii.gz").unlink()
    with pytest.raises(ValueError, match="b_3 has none"):
        score_folder(brain, data / "out")


def test_small_volumes_are_seen_in_3d_and_no_mirror_image_turns_a_named_direction(data):
    brain, _ = tasks(data)
    cases = [load(item, brain.labels) for item in brain.train]
    plan = plan_of(cases, list(brain.labels.values()))
    assert (plan.dims, plan.patch, plan.mirrors) == (3, (16, 24, 16), (0, 2))  # "front" forbids back to front
    assert plan_of(cases, ["left", "upper"]).mirrors == (1,)
    slices = plan_of(cases, ["a", "b"], slices=True)
    assert (slices.dims, slices.side, slices.mirrors) == (2, 128, (0, 1))
    seen = see(cases[0]["image"], cases[0]["label"], slices)
    assert seen.image.shape == (16, 1, 128, 85)
    assert seen.label.unique().tolist() == [0, 1, 2]


def test_thin_structures_are_seen_larger_and_in_patches(data):
    thin = np.zeros((600, 600), np.uint8)
    thin[::20] = 255
    for name in ("s1", "s2"):
        Image.fromarray(np.repeat(thin[..., None], 3, 2)).save(data / f"skin/images/{name}.jpg")
        Image.fromarray(thin).save(data / f"skin/labels/{name}_segmentation.png")
    _, skin = tasks(data)
    plan = plan_of([load(item, skin.labels) for item in skin.train], ["vessel"])
    assert plan.side >= 512
    assert plan.patch == (256, 256)


def test_a_sample_is_the_same_for_a_number_and_a_seed(data):
    brain, _ = tasks(data)
    cases = [load(item, brain.labels) for item in brain.train]
    plan = plan_of(cases, ["a", "b"])
    seen = [see(case["image"], case["label"], plan) for case in cases]
    first, again, other = (Samples(seen, plan, count=9, seed=seed, colours=False)[5] for seed in (0, 0, 1))
    torch.testing.assert_close(first["image"], again["image"], rtol=0, atol=0)
    assert not torch.equal(first["image"], other["image"])
    assert first["image"].shape == (1, *plan.patch)


@pytest.mark.parametrize("name", ["brain", "skin"])
def test_a_u_net_trains_and_its_label_maps_can_be_scored(data, name, monkeypatch):
    monkeypatch.setattr("benchmarks.own.unet_plan.SIDES", (64,))
    monkeypatch.setattr("benchmarks.own.unet_network.FILTERS", {2: (4, 8, 8), 3: (4, 8, 8)})
    task = {task.name: task for task in tasks(data)}[name]
    spec = {"labels": task.labels, "train": task.train, "test": task.test, "network": "scratch", "minutes": 0.0}
    spec |= {"clock": "wall", "threads": 1, "seed": 0, "model": str(data / "m.pt"), "facts": str(data / "f.json")}
    unet.train(spec)
    unet.predict({**spec, "predictions": str(data / "found")})
    assert json.loads((data / "f.json").read_text(encoding="utf-8"))["steps"] == unet.WARM + unet.TIMED
    assert 0 <= score_folder(task, data / "found")["dice"] <= 1


def test_nnunet_gets_consecutive_labels_and_colours_as_channels(data):
    brain, skin = tasks(data)
    for task in (brain, skin):
        net = nnunet.NNUNet(task, data / task.name / "nn", Path("bin"), threads=1, log=data / "log")
        net.convert()
    told = json.loads((data / "brain/nn/raw/Dataset001_task/dataset.json").read_text(encoding="utf-8"))
    assert told["labels"] == {"background": 0, "front lobe": 1, "stem": 2}
    label = nib.load(data / "brain/nn/raw/Dataset001_task/labelsTr/b_1.nii.gz")
    assert np.unique(np.asarray(label.dataobj)).tolist() == [0, 1, 2]
    raw = data / "skin/nn/raw/Dataset001_task"
    assert list(json.loads((raw / "dataset.json").read_text(encoding="utf-8"))["channel_names"].values()) == [
        "R",
        "G",
        "B",
    ]
    assert np.unique(Image.open(raw / "labelsTr/s1.png")).tolist() == [0, 1]
    assert [path.name for path in sorted((raw / "imagesTs").iterdir())] == [f"s{n}_0000.png" for n in (3, 4, 5)]


def test_a_command_is_measured_with_its_children_and_its_failure_told(tmp_path):
    grandchild = "import time; kept = bytearray(150 * 2**20); time.sleep(1)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    spent = run_measured([sys.executable, "-c", child], log=tmp_path / "log")
    assert spent.peak_gb > 0.14
    assert spent.seconds >= 1
    with pytest.raises(CommandError, match="out of luck"):
        run_measured([sys.executable, "-c", "raise SystemExit('out of luck')"], log=tmp_path / "log")


def test_a_clock_tells_how_many_steps_fit():
    assert 94 <= Clock(1).steps_left(0.6, reserve=0.05) <= 95
    assert Clock(0).steps_left(1) == 0
    with pytest.raises(ValueError, match="wall, processor, got 'sun'"):
        Clock(1, "sun")


def test_rows_that_are_there_are_not_run_again_and_failed_ones_are(data, monkeypatch, capsys):
    calls = []

    def good(run):
        calls.append((run.task.name, run.seed))
        spent = {"seconds": 1.0, "processor_seconds": 2.0, "peak_gb": 0.5}
        return {"dice": 0.5, "classes": {"a": 0.4, "b": 0.6}, "cases": {}, "train": spent, "predict": spent}

    def bad(run):
        calls.append("bad")
        raise CommandError("no such command")

    good.volumes_only, bad.volumes_only = False, True
    monkeypatch.setattr(bench_own, "ROWS", {"good": good, "bad": bad})
    monkeypatch.setattr(bench_own, "commit", lambda: "abc")
    tasks(data)
    given = ["--data", str(data), "--task-file", str(data / "tasks.json"), "--out", str(data / "runs")]
    assert bench_own.main([*given, "--rows", "good", "--seeds", "0", "1"]) == 0
    assert bench_own.main([*given, "--rows", "good", "bad"]) == 1
    assert calls == [("brain", 0), ("brain", 1), ("skin", 0), ("skin", 1), "bad"]  # pictures have no 3D row
    assert "no such command" in capsys.readouterr().err
    assert "| good | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 |" in (data / "runs/table.md").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="choose another --out"):
        bench_own.main([*given, "--rows", "good", "--minutes", "1"])


def test_the_command_is_given_the_training_cases_and_its_bundle_is_scored_by_names(data, monkeypatch):
    brain, _ = tasks(data)
    given = []

    def run_here(command, **_):
        given.append(command[3:])
        if command[3] == "train":
            nano = {"backbone": "vit_nano", "weights": None}
            train(command[4], command[6], labels=brain.labels, method="plain", folds=0, steps=2, side=64, sam=nano)
        else:
            segmented = CliRunner().invoke(segment_app, command[4:])
            assert segmented.exit_code == 0, segmented.output
        return Spent(1.0, 2.0, 0.5)

    monkeypatch.setenv("AMSAM_CACHE", str(data / "cache"))
    monkeypatch.setattr("benchmarks.own.rows.run_measured", run_here)
    result = CommandRow("plain")(Run(brain, 4, 1.5, "wall", 1, data / "w", data / "s", data / "e", results=data))
    assert given[0][:4] == ["train", str(data / "w/train"), "--out", str(data / "w/bundle")]
    assert given[0][4:] == [
        *("--minutes", "1.5", "--seed", "4", "--labels", "3=front lobe,7=stem", "--method", "plain", "--folds", "0")
    ]
    assert list(result["classes"]) == ["front lobe", "stem"]
    assert list(result["cases"]) == ["b_3"]
    assert result["expected"] == {"b_3": {}}  # no case was left out that could have told
    assert result["plan"]["cases"] == ["b_1", "b_2"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["brain", "skin"])
def test_a_u_net_s_row_runs_from_the_command_line(data, name):
    tasks(data)
    given = ["--data", str(data), "--task-file", str(data / "tasks.json"), "--out", str(data / "runs")]
    assert bench_own.main([*given, "--tasks", name, "--rows", "unet", "--minutes", "0.01", "--threads", "1"]) == 0
    result = json.loads((data / f"runs/runs/{name}-unet-0.json").read_text(encoding="utf-8"))
    assert result["facts"]["steps"] >= 1
    assert 0 < result["train"]["peak_gb"] < 6


def test_a_method_alone_trains_as_long_as_the_command_s_last_training(data):
    brain, _ = tasks(data)
    run = Run(brain, 0, 1.0, "wall", 1, data / "w", data / "s", data / "e", results=data)
    assert CommandRow().fixed(run) == []
    assert CommandRow("plain").fixed(run) == ["--method", "plain", "--folds", "0"]
    (data / "brain-command-0.json").write_text(
        json.dumps({"plan": {"steps": {"final": {"plain": 120}}}}), encoding="utf-8"
    )
    assert CommandRow("plain").fixed(run)[-2:] == ["--steps", "120"]
    assert "--steps" not in CommandRow("aisam").fixed(run)


def test_the_table_tells_how_well_dice_is_foretold(tmp_path):
    cases = [{"input": f"in/c{n}.nii.gz", "quality": {"a": {"case": [n / 10, 0.1]}}} for n in range(1, 9)]
    (tmp_path / "segment_report.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    expected = expected_of(tmp_path)
    assert expected["c3"] == {"a": 0.3}
    spent = {"seconds": 1.0, "processor_seconds": 2.0, "peak_gb": 0.5}
    rest = {"dice": 0.5, "classes": {"a": 0.5}, "train": spent, "predict": spent}
    true = {f"c{n}": {"a": (n + 2) / 10} for n in range(1, 9)}  # c1 to c4 are below 0.7
    ours = {"task": "x", "row": "ours", **rest, "cases": true, "expected": expected}
    lines = make_table([ours, {"task": "x", "row": "2d", **rest, "cases": true}], ["ours", "2d"], ["2d"]).splitlines()
    assert "| ours | 8 | 4 | 1.00 | 1.00 | 0.50 | 0.20 |" in lines
    assert sum(line.startswith("| 2d") for line in lines) == 1


def test_the_mean_over_tasks_stands_only_where_no_task_lacks():
    spent = {"seconds": 1.0, "processor_seconds": 2.0, "peak_gb": 0.5}
    rest = {"classes": {"a": 0.5}, "train": spent, "predict": spent}
    runs = [("x", "ours", 0.9), ("y", "ours", 0.7), ("x", "2d", 0.6), ("y", "2d", 0.5), ("x", "3d", 0.8)]
    results = [{"task": task, "row": row, "dice": dice, **rest} for task, row, dice in runs]
    lines = make_table(results, ["ours", "2d", "3d"], ["2d", "3d"]).splitlines()
    assert lines[2].startswith("| ours | 0.900 | 0.700 | 0.800 |")
    assert lines[4].startswith("| 3d | 0.800 |  |  |")
    assert lines[5].startswith("| best of U-Nets and nnU-Nets, by task | 0.800 | 0.500 | 0.650 |")
