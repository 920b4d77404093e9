"""Bundles from recipes: layers, comments, names of handlers, and the committed bundles."""

import json
import shutil
import subprocess
import sys

import pytest
import yaml
from monai.bundle import ConfigParser

from amsam_monai.bundles.build import build_bundle, bundle_files
from amsam_monai.bundles.layers import merge, positions, resolved, with_lists
from amsam_monai.bundles.prose import plain, read, write
from amsam_monai.bundles.recipes import FOLDER, find_recipe, read_recipe, recipe_names
from tests.bundles.runs import BUNDLES

PROSE = """\
# What this is

# The knobs
shots: 8            # labelled images
flips: [horizontal] # or none
network:
  _target_: a.Network
  # told above, since it is long
  size: 512
steps:
  - {_target_: One, keys: image}
  - _target_: Two           # behind
    name: "a # b"
"""


def test_comments_and_the_writing_of_values_survive():
    assert write(read(PROSE)) == PROSE


def merged(base, layer):
    return write(merge(read(base), read(layer)))


def test_a_layer_replaces_values_and_keeps_their_comments():
    assert merged("a: 1               # one\nb: 2\n", "a: 3\n") == "a: 3                # one\nb: 2\n"


def test_a_new_key_stands_behind_its_neighbour():
    assert merged("a: 1\nb: 2\n", "a: !here\nc: 3\n") == "a: 1\nc: 3\nb: 2\n"


def test_paths_reach_into_mappings():
    assert plain(merge(read("a: {b: {c: 1}}\n"), read("a#b#d: 2\n"))) == {"a": {"b": {"c": 1, "d": 2}}}


def test_another_component_replaces_and_the_same_is_merged():
    base = "x: {_target_: A, size: 1}\n"
    assert plain(merge(read(base), read("x: {_target_: B, side: 2}\n"))) == {"x": {"_target_": "B", "side": 2}}
    assert plain(merge(read(base), read("x: {side: 2}\n"))) == {"x": {"_target_": "A", "size": 1, "side": 2}}


def test_entries_are_dropped_and_renamed_where_they_stand():
    assert merged("a: 1\nb: 2\nc: 3\n", "a: !drop\nd: !moved b\n") == "d: 2\nc: 3\n"


def test_a_rename_of_nothing_is_refused():
    with pytest.raises(ValueError, match="there must be something to be moved, got nothing called b"):
        merged("a: 1\n", "d: !moved b\n")


def test_names_of_handlers_become_positions():
    tree = read("train:\n  handlers:\n    decay: {_target_: Decay}\n    stats: {_target_: Stats}\n")
    places = positions(tree)
    overlay = resolved(read("train#handlers#stats#_disabled_: true\n"), places)
    assert write(overlay) == "train#handlers#1#_disabled_: true\n"
    assert plain(with_lists(tree)) == {"train": {"handlers": [{"_target_": "Decay"}, {"_target_": "Stats"}]}}
    with pytest.raises(ValueError, match=r"train#handlers#bar: bar must be one of decay, stats"):
        resolved(read("train#handlers#bar: null\n"), places)


def test_an_unknown_recipe_is_refused_with_those_that_are_there():
    with pytest.raises(FileNotFoundError, match=r"there is no recipe lung.* one of: acdc_aisam, .*synapse_autosam"):
        find_recipe("lung")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nmethod: amsam\n", "a recipe must have images, words"),
        ("name: a\nmethod: amsam\nimages: pictures\nwords: {}\nsetings: {}\n", "got 'setings'"),
    ],
)
def test_a_recipe_with_a_slip_is_refused(text, message, tmp_path):
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_recipe(tmp_path / "own.yaml")


def test_another_folder_is_not_written_over(tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years of work", encoding="utf-8")
    with pytest.raises(FileExistsError, match="must be a bundle or an empty folder"):
        build_bundle("isic_amsam", tmp_path)


def test_models_stay_and_configs_that_the_recipe_no_longer_gives_go(tmp_path):
    build_bundle("isic_amsam", tmp_path)
    (tmp_path / "models" / "model.pt").write_text("weights", encoding="utf-8")
    (tmp_path / "configs" / "unet_train.yaml").write_text("a: 1", encoding="utf-8")
    build_bundle("isic_amsam", tmp_path)
    assert (tmp_path / "models" / "model.pt").read_text(encoding="utf-8") == "weights"
    assert not (tmp_path / "configs" / "unet_train.yaml").exists()


@pytest.mark.parametrize("recipe", recipe_names())
def test_no_word_is_left_open_and_twins_say_the_same(recipe, tmp_path):
    texts = bundle_files(read_recipe(recipe))
    assert not [name for name, text in texts.items() if name.endswith(("yaml", "md", "json")) and "<" in text]
    build_bundle(recipe, tmp_path)
    twins = [ConfigParser.load_config_file(str(tmp_path / "configs" / f"train.{end}")) for end in ("yaml", "json")]
    assert twins[0] == twins[1]


def test_switches_of_the_command_line_are_read():
    train = yaml.safe_load(bundle_files(read_recipe("glas_autosam"))["configs/train.yaml"])
    assert train["turns"] is True
    assert train["train"]["trainer"]["prepare_batch"]["turns"] == "$said(@turns)"


def test_what_is_written_by_hand_stays_short():
    layers = [*FOLDER.glob("*.yaml"), *FOLDER.glob("overlays/*.yaml")]
    lines = {
        file: len(file.read_text(encoding="utf-8").splitlines()) for file in [*layers, *FOLDER.glob("datasets/*.yaml")]
    }
    assert sum(lines.values()) <= 1700
    assert all(8 <= count <= 25 for file, count in lines.items() if file.parent.name == "datasets")


@pytest.mark.slow  # the linters look at this too
def test_the_committed_bundles_are_what_their_recipes_give():
    assert {read_recipe(name).name for name in recipe_names()} == {
        file.parent.name for file in BUNDLES.glob("*/LICENSE")
    }
    script = BUNDLES.parent / "scripts" / "build_bundles.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_bundle_that_was_changed_by_hand_is_named(tmp_path):
    shutil.copytree(BUNDLES, tmp_path / "bundles", ignore=shutil.ignore_patterns("*.pt", "*.pth", "eval", "data"))
    gone = tmp_path / "bundles" / "human_amsam_segmentation" / "models" / "detector.LICENSE"
    gone.unlink()
    changed = tmp_path / "bundles" / "isic_amsam_segmentation" / "configs" / "train.yaml"
    changed.write_text(changed.read_text(encoding="utf-8").replace("shots: 8", "shots: 9"), encoding="utf-8")
    script = BUNDLES.parent / "scripts" / "build_bundles.py"
    command = [sys.executable, str(script), "--check", "--bundles", str(tmp_path / "bundles")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{file} is not what its recipe gives; run scripts/build_bundles.py" for file in (gone, changed)
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian.yaml: {shots: 4}", r"a recipe must have no more than .*, got 'trian.yaml'"),
        ("overlays: paper", "overlays must be a list of names, got 'paper'"),
        (
            "overlays: [bilevl_train, paper]",
            "overlays must be among again, bilevel_train, .*refine.*, got bilevl_train",
        ),
        ("overlays: [train]", "overlays must be among .*, got train"),
        ("train.yaml: {shots: 4, shots: 8}", "own.yaml: a key must stand once .*, got 'shots' 2 times, in line 5."),
        ("images: volumes", "own.yaml: a key must stand once .*, got 'images' 2 times, in line 3 and 5"),
        (
            "train.yaml: {settings#sam#image_size: 64, settings: {sam: {image_size: 128}}}",
            "given once, got .*image_size",
        ),
        ("train.yaml: {settings#classes: {'a #1': 1}}", "a key must do without #, .* got 'a #1'"),
        ("train.yaml: {", "own.yaml: a recipe must be YAML, got"),
    ],
)
def test_a_part_that_would_be_passed_over_is_refused(tmp_path, line, message):
    words = "{title: T, few: a few, layout: l, scans: images, modality: own}"
    text = f"name: own\nmethod: amsam\nimages: pictures\nwords: {words}\n{line}\n"
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        build_bundle(tmp_path / "own.yaml", tmp_path / "out")


@pytest.mark.parametrize("flow", [True, False])
def test_names_that_yaml_would_read_otherwise_come_through(tmp_path, flow):
    classes = {"a, b": 1, "c: d": 2, "[e]": 3, "{f}": 4, "1": 5, "no": 6, "null": 7, "-": 8, "q\"'": 9, "Läsion ☃": 10}
    words = {
        "title": 'Drüsen: "H&E", {new}',
        "few": "a few",
        "layout": "l",
        "scans": "images",
        "modality": "H&E, 40x",
    }
    train = {"settings#classes": classes, "val": 2, "datalist": {"_target_": "x", "names": {255: "a, b", 1: "c"}}}
    own = {"name": "own, first: yes", "method": "amsam", "images": "pictures", "overlays": [], "words": words}
    own |= {
        "train.yaml": train,
        "metadata.json": {"references": ["Li, A: On B", "null"], "task": "cells, all: of them"},
    }
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(own, default_flow_style=flow, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    root = build_bundle(tmp_path / "own.yaml", tmp_path / "out")
    written = [ConfigParser.load_config_file(str(root / "configs" / f"train.{end}")) for end in ("yaml", "json")]
    assert written[0]["settings"]["classes"] == written[1]["settings"]["classes"] == classes
    assert written[0]["datalist"]["names"] == {255: "a, b", 1: "c"}
    assert written[0]["bundle_root"]["name"] == "own, first: yes"
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["references"] == ["Li, A: On B", "null"]
    assert metadata["task"] == "cells, all: of them"
    assert metadata["image_classes"] == "RGB H&E, 40x image in [0, 1]"
    assert list(metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values())[1:] == list(classes)
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump({**own, "metadata.json": {}}, default_flow_style=flow), encoding="utf-8"
    )
    build_bundle(tmp_path / "own.yaml", tmp_path / "out")
    metadata = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["task"] == 'Segmentation of Drüsen: "H&E", {new}'
    assert all(file.read_bytes().isascii() for file in (root / "configs").iterdir())  # MONAI reads them in any locale


def test_building_anew_keeps_configs_of_one_s_own_and_no_other_bundle_is_written_over(tmp_path):
    root = build_bundle("acdc_autosam", tmp_path / "mine")
    (root / "configs" / "mine.yaml").write_text("max_epochs: 3\n", encoding="utf-8")
    (root / "configs" / "paper.yaml").write_text("# of an earlier recipe\n", encoding="utf-8")
    build_bundle("acdc_autosam", root)
    assert (root / "configs" / "mine.yaml").is_file()
    assert not (root / "configs" / "paper.yaml").exists()
    before = (root / "configs" / "train.yaml").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError, match="holds the bundle acdc_autosam_segmentation, got a recipe of glas"):
        build_bundle("glas_autosam", root)
    assert (root / "configs" / "train.yaml").read_text(encoding="utf-8") == before
