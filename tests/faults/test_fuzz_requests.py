"""Whatever a client or a command line says ends as what it means or as one error that a user can read."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from amsam_monai.annotate.actions import use_mouse
from amsam_monai.annotate.pen import TOOLS
from amsam_monai.annotate.workbench import Workbench
from amsam_monai.bundles.knobs import check_knobs
from amsam_monai.bundles.network import build_network
from amsam_monai.bundles.overrides import said
from amsam_monai.bundles.settings import Settings
from amsam_monai.cli.prepare import table_of
from amsam_monai.cli.train import _intensity
from amsam_monai.evaluation.label_maps import parse_map
from amsam_monai.evaluation.pairs import parse_labels
from amsam_monai.gate import Gate, GateOptions
from amsam_monai.label_app.requests import PromptRequest, parse_prompts
from amsam_monai.label_app.results import SUFFIXES, ResultFormat
from amsam_monai.label_app.saved_labels import settled, value_names
from amsam_monai.label_app.training import TrainOptions
from amsam_monai.networks.prompts import Prompts
from tests.faults.fuzzing import anything, budget, mapping, numbers, texts, tried
from tests.session.test_session import opened

LABELS, SHAPE = ("liver", "spleen"), (40, 30, 10)
points = st.lists(st.lists(numbers, min_size=2, max_size=4), max_size=4)
REQUEST = {
    **dict.fromkeys(("foreground", "background", "points", "liver", "Spleen", "roi"), points),
    **dict.fromkeys(("slice", "roi_order", "automatic_points", "reset_state", "propagate"), texts),
    "roi": st.lists(numbers, min_size=4, max_size=6),
    "label": st.sampled_from(["liver", "SPLEEN", "lung", ""]),
    "point_labels": st.lists(st.integers(0, 1), max_size=4),
    "label_prompt": st.lists(st.integers(0, 3), max_size=2),
    "slice": numbers,
}


@budget(40)
@given(mapping(REQUEST))
@example({"label": "liver", "foreground": [[1, 2, 3]] * 10_000})
def test_prompts_of_a_request_lie_in_the_image_or_are_refused(request):
    parsed, refusal = tried(parse_prompts, request, LABELS, SHAPE)
    if refusal:
        return
    assert isinstance(parsed, PromptRequest)
    voxels = [point.voxel for found in parsed.points.values() for point in found]
    voxels += [corner for box in parsed.boxes.values() for corner in box]
    assert all(-0.5 <= value <= size - 0.5 for voxel in voxels for value, size in zip(voxel, SHAPE, strict=True))
    assert len(voxels) < 5000


INFO = {
    "label_info": st.lists(st.fixed_dictionaries({"name": texts}, optional={"idx": numbers}), max_size=3),
    "params": st.fixed_dictionaries({"label_names": st.dictionaries(texts, numbers, max_size=3)}),
}


@budget(40)
@given(mapping(INFO) | anything, st.sets(st.integers(1, 70_000), max_size=3))
def test_names_of_saved_labels_are_names_of_values_or_refused(info, values):
    names, _ = tried(lambda: settled(value_names(info), values))
    assert names is None or all(0 < value < 65536 and isinstance(name, str) for value, name in names.items())


TRAINING = dict.fromkeys(("max_epochs", "steps_per_epoch", "val_split", "seed", "val_interval", "pretrained"), numbers)
RESULT = {"result_extension": texts, "result_dtype": texts, "result_compress": texts}


@budget(40)
@given(mapping(TRAINING), mapping(RESULT))
def test_options_of_a_request_are_usable_or_refused(training, result):
    options, refusal = tried(TrainOptions.of_request, training)
    assert refusal or (1 <= options.max_epochs <= 100_000 and 0 <= options.val_split < 1)
    form, refusal = tried(ResultFormat.of_request, result)
    assert refusal or form.extension in ("", *SUFFIXES)


SETTINGS = {
    "system": "aisam",
    "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
    "classes": {"liver": 1, "spleen": 2},
    "arguments": {"depth": 1, "num_points": 2},
    "intensity": {"mode": "percentile"},
    "slices": {"axis": "axial"},
    "largest_component": False,
}
places = st.sampled_from(
    [(key,) for key in SETTINGS] + [(k, n) for k, v in SETTINGS.items() if isinstance(v, dict) for n in v]
)


@budget(60)
@given(places, anything)
def test_settings_that_are_changed_at_any_place_are_settings_or_refused(place, value):
    changed = copy.deepcopy(SETTINGS)
    (changed[place[0]] if len(place) == 2 else changed)[place[-1]] = said(value)
    settings, refusal = tried(Settings.of, changed)
    assert refusal or Settings.of(settings.to_mapping()) == settings


KNOBS = {"max_epochs": 1, "batch_size": 1, "val_interval": 1, "learning_rate": 0.1, "seed": 0, "device": "cpu"}


@budget(40)
@given(st.sampled_from(sorted(KNOBS)), anything)
def test_numbers_of_a_training_are_taken_or_refused_by_name(name, value):
    _, refusal = tried(check_knobs, **{**KNOBS, name: value})
    assert refusal is None or refusal.startswith(name)


@budget(40)
@given(texts | st.text(alphabet="=,:12ab -", max_size=12))
def test_tables_of_a_command_line_are_read_or_refused(text):
    for read in (parse_labels, table_of, _intensity, lambda one: parse_map(one, {1: "liver", 2: "spleen"})):
        tried(read, text)


header = st.tuples(st.sampled_from([b"host", b"origin", b"cookie", b"authorization", b"x"]), st.binary(max_size=20))


@budget(40)
@given(st.lists(header, max_size=4), st.sampled_from(["GET", "OPTIONS", "DELETE"]))
def test_no_header_opens_the_gate_or_breaks_it(headers, method):
    gate = Gate(None, GateOptions(token="secret"))
    refused = gate.refusal({"type": "http", "method": method, "headers": headers, "scheme": "http"})
    assert refused is not None
    assert refused[0] in (401, 403)


@budget(20)
@given(st.sampled_from([1, "class 1", 0, "lung", None]), anything, st.booleans(), anything)
def test_what_a_session_is_told_is_done_or_refused_and_leaves_it_sound(label, voxel, positive, slice_):
    session = opened()
    tried(session.add_point, label, voxel, positive, refusals=(ValueError, TypeError))
    tried(session.set_box, label, voxel, (1, 1, 1), refusals=(ValueError, TypeError))
    for stroke in (session.scribble, session.lasso, session.paint):
        tried(stroke, label, [voxel, (1, 1, 1), (5, 1, 1)], refusals=(ValueError, TypeError))
    tried(session.segment, slice_, refusals=(ValueError, TypeError))
    session.segment("all")
    assert set(np.unique(session.label)) <= {0, 1}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_network(Settings.of(SETTINGS)).eval()


coordinates = st.sampled_from([float("nan"), float("inf"), -1e9, -1.0, 0.0, 0.5, 7.0, 63.0, 64.0, 1e30])


@budget(20)
@given(count=st.integers(0, 3), values=st.lists(coordinates, min_size=20, max_size=20), whole=st.booleans())
def test_any_points_and_boxes_give_finite_logits_or_are_refused(network, count, values, whole):
    numbers_ = torch.tensor(values)
    numbers_ = numbers_.nan_to_num(0, 9, -9).clamp(-1e6, 1e6).long() if whole else numbers_
    prompts = Prompts(
        points_xy=numbers_[: 4 * count].reshape(1, 2, count, 2),
        point_labels=torch.ones(1, 2, count),
        box_xyxy=numbers_[12:20].reshape(1, 2, 4),
    )
    with torch.no_grad():
        answer, refusal = tried(network.segment, torch.rand(1, 3, 64, 64), prompts)
    assert refusal or answer.logits.isfinite().all()


places = st.lists(numbers, min_size=1, max_size=3)
EVENT = {"view": st.sampled_from(["main-view", "side-0", "x"]), "from": places, "to": places, "at": numbers}
EVENT |= {"path": st.lists(places, max_size=4), "tool": st.sampled_from([*TOOLS, "x"]), "keep": anything}


@budget(40)
@given(st.one_of(texts, (mapping(EVENT | {"step": numbers}) | mapping(EVENT) | anything).map(json.dumps)))
@example("[" * 100_000)
@example('{"view": "main-view", "from": [Infinity, NaN]}')
@example('{"step": 1e400}')
@example(json.dumps({"view": "main-view", "tool": "lasso", "path": [[0.1, 0.1], [0.9, 0.1], [0.5, 0.9]]}))
@example(json.dumps({"view": "main-view", "tool": "brush", "path": [[0.1, 0.1]] * 100_000}))
def test_any_event_of_a_page_is_done_or_refused_in_words(message):
    bench = Workbench(opened(), [], Path("nowhere"), side=64)
    bench.path, bench.plane, bench.cursor = Path("a.nii.gz"), bench._own_plane(), (0, 0, 0)
    said, refusal = tried(use_mouse, bench, message)
    assert isinstance(said, str) or refusal
    assert all(0 <= at < size for at, size in zip(bench.cursor, bench.session.image.voxel_shape, strict=True))
