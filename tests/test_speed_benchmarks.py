"""Benchmarks of speed with tiny sizes, and scripts/gpu_check.py on a processor."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from amsam_monai.segment.batch import plan

SCRIPTS = Path(__file__).parents[1] / "scripts"
ROWS = ("matmul", "same", "encoder", "aisam", "train_step", "volume", "cohort")


@pytest.fixture
def script(monkeypatch):
    """Imports a script by its name, as it imports its neighbours."""
    monkeypatch.syspath_prepend(SCRIPTS / "benchmarks")
    monkeypatch.syspath_prepend(SCRIPTS)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


def main(module, monkeypatch, *arguments):
    """Run a script's main as from a shell."""
    monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
    return module.main()


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_sides_are_timed_in_turn_and_told_as_ratios(script, tmp_path, capsys):
    sides, calls = script("sides"), []
    times = sides.in_turn({"ours": lambda: calls.append("o"), "theirs": lambda: calls.append("t")}, 2, first=1)
    assert calls == ["o", "t"] * 3
    assert [len(each) for each in times.values()] == [2, 2]
    sides.tell({"a step": {"ours": [1.0, 2.0, 9.0], "theirs": [4.0, 3.0, 5.0]}}, tmp_path / "new" / "x.json", threads=1)
    assert "| a step | theirs | 4 | 3 | 2.00 |" in capsys.readouterr().out
    told = read(tmp_path / "new" / "x.json")
    assert told["ratios"] == {"a step": {"ours": 1.0, "theirs": 2.0}}
    assert told["threads"] == 1


@pytest.mark.parametrize("row", ROWS)
def test_a_row_for_gpus_runs_on_a_processor(row, script, tmp_path):
    check = script("gpu_check")
    assert set(check.ROWS) == set(ROWS)
    check.measure(row, check.TINY, "cpu", tmp_path / "row.json")
    found = read(tmp_path / "row.json")
    assert "error" not in found
    assert all(value >= 0 for value in found.values())
    if row == "same":
        assert max(found.values()) < 1e-5
    if row in ("volume", "cohort"):
        assert 0 < found["share_of_network"] <= 1


def test_a_row_that_fails_is_told_with_what_it_had_and_the_others_go_on(script, tmp_path, monkeypatch, capsys):
    check = script("gpu_check")

    def breaks(size, device):
        yield "first", 1.0
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(check.ROWS, "matmul", breaks)
    check.measure("matmul", check.TINY, "cpu", tmp_path / "row.json")
    assert read(tmp_path / "row.json") == {"first": 1.0, "error": "RuntimeError: no such kernel"}
    out = tmp_path / "all.json"
    asked = ("--tiny", "--device", "cpu", "--rows", "matmul", "aisam", "--out", out)
    assert main(check, monkeypatch, *asked, "--minutes", "0.0001") == 1
    told = read(out)
    assert [found["error"][:20] for found in told["rows"].values()] == ["took more than the 0", "took more than the -"]
    assert f"{told['card']}, PyTorch {torch.__version__}" in capsys.readouterr().out


@pytest.mark.slow  # a process for each row, which imports torch
def test_the_check_for_gpus_runs_as_a_whole(script, tmp_path, monkeypatch):
    assert main(script("gpu_check"), monkeypatch, "--tiny", "--device", "cpu", "--out", tmp_path / "all.json") == 0
    assert set(read(tmp_path / "all.json")["rows"]) == set(ROWS)


def test_a_training_step_gives_the_decoder_gradients_on_both_sides(script, tmp_path, monkeypatch):
    out = tmp_path / "step.json"
    tiny = ("--backbone", "vit_nano", "--image-size", 64, "--batch", 2, "--rounds", 1, "--encoder", "--out", out)
    main(script("train_step"), monkeypatch, *tiny)
    (times,) = read(out)["seconds"].values()
    assert list(times) == ["AM-SAM", "segment-anything", "AM-SAM with its encoder"]


def test_all_classes_at_once_are_the_loops(script, tmp_path, monkeypatch):
    out = tmp_path / "aisam.json"
    main(script("aisam_classes"), monkeypatch, "--classes", 3, "--image-size", 64, "--repeats", 1, "--out", out)
    assert read(out)["difference"] < 1e-4


def test_volumes_are_timed(script, tmp_path, monkeypatch):
    out = tmp_path / "volume.json"
    tiny = ("--backbone", "vit_nano", "--image-size", 64, "--shape", 20, 24, 5, "--volumes", 2, "--rounds", 1)
    main(script("volume"), monkeypatch, *tiny, "--probabilities", "--out", out)
    (ratios,) = read(out)["ratios"].values()
    assert 0 < ratios["network"] <= 1
    parts = sum(ratios[part] for part in ("reading", "network, one by one", "around the network", "writing"))
    assert parts <= ratios["one by one"] < parts + 1  # of the run's time: what no stage has


def test_clicks_are_written(script, tmp_path, monkeypatch):
    out = tmp_path / "clicks.json"
    tiny = ("--weights", "none", "--image-size", 64, "--clicks", 2, "--shape", 32, 32, 5, "--out", out)
    main(script("clicks"), monkeypatch, *tiny)
    assert len(read(out)["seconds"]["a click"]["warm"]) == 2


@pytest.mark.slow  # processes that import torch
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")
def test_memory_and_time_of_two_depths_are_written(script, tmp_path, monkeypatch):
    out = tmp_path / "growth.json"
    main(script("volume_memory"), monkeypatch, "--side", 32, "--depths", 4, 8, "--probabilities", "--out", out)
    assert set(read(out)["depths"]["4"]) == {"peak", "volumes", "working", "seconds"}


@pytest.mark.slow  # workers import torch
def test_pictures_go_over_workers(script, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs Dask")
    cohort, out = script("cohort"), tmp_path / "cohort.json"
    jobs = cohort.pictures(tmp_path / "in", 2, 32)
    assert jobs == plan(tmp_path / "in", tmp_path / "out")
    main(cohort, monkeypatch, "--backbone", "vit_nano", "--image-size", 64, "--pictures", 3, "--out", out)
    assert list(*read(out)["seconds"].values()) == ["two workers", "one worker", "no scheduler"]


@pytest.mark.slow  # graphs are exported
def test_graphs_are_timed(script, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    out = tmp_path / "export.json"
    tiny = ("--side", 64, "--rounds", 1, "--systems", "AM-SAM", "--weights", "none", "--out", out)
    main(script("export"), monkeypatch, *tiny)
    assert len(read(out)["ratios"]) == 3
