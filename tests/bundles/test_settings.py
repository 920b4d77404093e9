import inspect
import logging

import pytest

from amsam_monai.bundles.arguments import DEFAULTS, FIELDS, FIXED
from amsam_monai.bundles.network import SIGNATURES, build_network
from amsam_monai.bundles.setting_checks import INTENSITY_ARGUMENTS
from amsam_monai.bundles.settings import Settings, checked, differences
from amsam_monai.networks.detector.detector import BoxDetector
from amsam_monai.networks.detector.embedding import EmbeddingDetector
from amsam_monai.transforms.intensity import Intensity

BLOCK = {
    "system": "amsam",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": {"liver": 6, "spleen": 1},
    "arguments": {"alpha": 0.7},
    "intensity": {"mode": "hu_window"},
    "slices": {"flips": ["horizontal"]},
}


def settings(**changes):
    return Settings.of({**BLOCK, **changes})


@pytest.mark.parametrize("system", sorted(FIXED))
def test_every_argument_stands_in_one_table(system):
    functions = (BoxDetector, EmbeddingDetector) if system == "detector" else SIGNATURES[system]
    names = {
        name
        for function in functions
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    if system == "unified":  # what the builder decides itself
        names -= {"automatic_points", "box_source", "box_tokens", "dense_prompter"}
    tables = [FIXED[system], DEFAULTS[system], FIELDS[system]]
    assert names == set.union(*map(set, tables)), "sort a new argument into FIXED, DEFAULTS or FIELDS"
    assert sum(map(len, tables)) == len(names), "an argument must stand in one table only"


def test_a_block_gives_labels_and_what_files_hold():
    block = settings()
    assert (block.num_classes, block.labels, block.image_size) == (2, {1: "liver", 2: "spleen"}, 64)
    assert block.label_map == {6: 1, 1: 2}
    assert Settings.of(block.to_mapping()) == block == checked(block)


def test_limits_are_overridden_number_by_number_and_switched_off():
    limits = {"cases": 3, "classes": {"liver": {"slice_share": 0.1, "parts": 4}}}
    block = settings(limits=limits)
    assert Settings.of(block.to_mapping()) == block
    wider = block.changed({"limits": {"classes": {"liver": {"slice_share": 0.5}}}})
    assert wider.limits == {"cases": 3, "classes": {"liver": {"slice_share": 0.5, "parts": 4}}}
    assert block.changed({"limits": "null"}).limits is None


def test_words_of_a_command_line_become_values_at_any_depth():
    block = settings(largest_component="true", detector="null", arguments={"joint": "FALSE", "missing_box": "null"})
    assert (block.largest_component, block.detector) == (True, None)
    assert block.arguments == {"joint": False, "missing_box": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sytem": "amsam"}, r"settings must be among .*, got 'sytem' \(did you mean system\?\)"),
        ({"image_size": 256}, r"got 'image_size' \(did you mean settings#sam#image_size\?\)"),
        ({"arguments": {"resize": "pad"}}, r"got 'resize' \(did you mean settings#resize\?\)"),
        ({"flips": []}, r"\(did you mean settings#detector#flips or settings#slices#flips\?\)"),
        ({"mode": "none"}, r"\(did you mean settings#intensity#mode\?\)"),
        ({"sam": {"backbone": "vit_t"}}, "sam must name backbone, weights and image_size"),
        ({"classes": {"liver": 0}}, "whole numbers from 1, got 'liver': 0"),
        ({"classes": {"liver": 1, "spleen": 1}}, "a value of its own for each class"),
        ({"arguments": {"num_points": 4}}, r"arguments must be among .*, got 'num_points'\."),
        ({"resize": "crop"}, "resize must be one of .*, got 'crop'"),
        ({"intensity": {"mode": "bright"}}, "intensity mode must be one of"),
        ({"intensity": {"window": 1}}, "must hold arguments of Intensity"),
        ({"slices": {"flip": []}}, r"slices must be among .*\(did you mean flips\?\)"),
        (
            {"slices": {"flips": "horizontal"}},
            "settings.slices.flips must be a list of horizontal, vertical, got 'horizontal'",
        ),
        ({"slices": {"flips": None}}, "settings.slices.flips must be a list"),
        ({"slices": {"batch_size": "2"}}, "settings.slices.batch_size must be a whole number, got '2'"),
        ({"arguments": {"joint": "no"}}, "settings.arguments.joint must be true or false, got 'no'"),
        ({"arguments": {"joint": None}}, "settings.arguments.joint must be true or false, got None"),
        ({"detector": {"file": "d.pth", "flips": "off"}}, "settings.detector.flips must be true or false"),
        ({"largest_component": "liver"}, "largest_component must be true, false or a list of classes, got 'liver'"),
        ({"largest_component": None}, "largest_component must be true, false or a list of classes, got None"),
        ({"largest_component": ["kidney"]}, "largest_component must be among liver, spleen, got 'kidney'"),
        ({"label_values": "mine"}, "label_values must be one of"),
        ({"limits": {"class": {}}}, "settings.limits must be a mapping of cases, classes, intensity, got 'class'"),
        ({"limits": [1]}, r"settings.limits must be a mapping .*, got \[1\]"),
        ({"limits": {"classes": {"kidney": {}}}}, "limits.classes must be a mapping of liver, spleen, got 'kidney'"),
        ({"limits": {"classes": {"liver": {"part": 1}}}}, "limits.classes.liver must be a mapping of slice_share"),
        ({"limits": {"classes": {"liver": {"gap": "wide"}}}}, "limits.classes.liver.gap must be a number, got 'wide'"),
        ({"limits": {"classes": {"liver": {"volume_share": 0.1}}}}, "volume_share must be 2 numbers, got 0.1"),
        ({"classes": {" $exit(3)": 1}}, r"must have names that do not begin with .*, got ' \$exit"),
        ({"classes": ["@imports"]}, "must have names that do not begin with"),
        ({"limits": {"intensity": {"low": [[0] * 5]}}}, "limits.intensity must have low and high"),
        ({"limits": {"intensity": {"low": [[0] * 4], "high": [[1] * 5]}}}, "intensity.low must be 5 numbers"),
        ({"limits": {"intensity": {"low": [[0] * 5], "high": [1]}}}, "intensity.high must be 5 numbers"),
        (
            {"detector": {"file": "d.pth", "architecture": "rcnn"}},
            "architecture must be one of yolo, embedding, got 'rcnn'",
        ),
        ({"detector": {"file": "d.pth", "image_size": 64}}, "detector must be among .*, got 'image_size'"),
    ],
)
def test_a_wrong_block_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"system": "aisam"}, "settings.system must be 'amsam', as the model was trained, got 'aisam'"),
        ({"sam": {"image_size": 128}}, "settings.sam.image_size must be 64, .* got 128"),
        ({"sam": {"weights": "mobile_sam"}}, "settings.sam.weights must be None, .* got 'mobile_sam'"),
        ({"resize": "stretch"}, "settings.resize must be 'pad', .* got 'stretch'"),
        ({"arguments": {"alpha": 0}}, "settings.arguments.alpha must be 0.7, .* got 0"),
        ({"arguments": {"lora_rank": 8}}, "settings.arguments.lora_rank must be 4, .* got 8"),
        ({"classes": {"kidney": 3}}, r"settings.classes must be .*liver.*, got \{'kidney': 3\}"),
        ({"classes": ["spleen", "liver"]}, "settings.classes must be .*liver.*, got .*spleen"),
    ],
)
def test_what_training_fixed_is_not_overridden(overrides, message):
    with pytest.raises(ValueError, match=message):
        settings().changed(overrides)


def test_the_hint_knows_all_of_the_intensitys_arguments():
    assert list(inspect.signature(Intensity).parameters) == list(INTENSITY_ARGUMENTS)


def test_a_detector_is_a_yolo_where_the_settings_do_not_say():
    assert settings(detector="d.pth").detector_architecture == "yolo"
    assert settings(detector={"file": "d.pth", "architecture": "embedding"}).detector_architecture == "embedding"


def test_options_of_a_detector_that_is_not_there_change_nothing():
    assert settings().changed({"detector": {"object_confidence": 0.6}}).detector is None
    there = settings(detector="d.pth").changed({"detector": {"object_confidence": 0.6}})
    assert there.detector == {"file": "d.pth", "object_confidence": 0.6}


def test_objects_may_be_told_class_by_class():
    assert settings(arguments={"objects": {"spleen": "all"}}).arguments["objects"] == ["one", "all"]
    changed = settings().changed({"arguments": {"objects": {"liver": "all"}}})
    assert changed.arguments["objects"] == ["all", "one"]
    assert settings().changed({"arguments": {"objects": "all"}}).arguments["objects"] == "all"
    with pytest.raises(ValueError, match=r"arguments\.objects must be among liver, spleen, got 'kidney'"):
        settings(arguments={"objects": {"kidney": "all"}})


def test_another_system_is_refused_before_its_arguments_are_looked_at():
    with pytest.raises(ValueError, match=r"settings.system must be 'amsam', .* got 'aisam'"):
        settings(arguments={"missing_box": "absent"}).changed({"system": "aisam"})


def test_a_default_is_overridden_and_the_log_says_so(caplog):
    overrides = {
        "intensity": {"mode": "none"},
        "slices": {"batch_size": 2},
        "arguments": {"dark_object_weight": 0.5, "alpha": 0.7},
        "largest_component": ["liver"],
    }
    with caplog.at_level(logging.INFO):
        changed = settings().changed(overrides)
    assert changed.intensity == {"mode": "none"}
    assert changed.slices == {"flips": ["horizontal"], "batch_size": 2}
    assert changed.arguments == {"alpha": 0.7, "dark_object_weight": 0.5}
    assert "settings.arguments.dark_object_weight is 0.5, where the model has 0.0" in caplog.text
    assert "alpha" not in caplog.text


def test_an_argument_left_out_is_its_default():
    assert differences(settings(), settings(arguments={"alpha": 0.7, "lora_rank": 4})) == []


def test_a_network_is_built_from_settings_alone():
    net = build_network(settings(arguments={"alpha": 0.5, "calibration": "paper"}, resize="stretch"))
    assert (net.num_classes, net.resize, net.image_size, net.calibration.alpha) == (2, "stretch", 64, 0.5)


def test_a_class_of_the_callers_own_is_handed_over_and_never_imported():
    from amsam_monai.networks.systems.amsam import AMSAM

    class Mine(AMSAM):
        pass

    own = settings(system="mine")
    with pytest.raises(ValueError, match=r"settings.system must be one of .*, got 'mine'; hand its class over"):
        build_network(own)
    assert type(build_network(own, system=Mine)) is Mine


def test_a_detector_that_the_settings_name_must_come():
    with pytest.raises(ValueError, match=r"settings name a detector \(detector.pth\), got none"):
        build_network(settings(detector="detector.pth"))
