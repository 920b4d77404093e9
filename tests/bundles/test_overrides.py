"""What a command line says reaches a config as the value that is meant."""

import fire
import pytest
from monai.bundle import run

from amsam_monai.bundles.overrides import said

CONFIG = """
imports: ["$from amsam_monai.bundles.overrides import said"]
turns: true
listed: isic
slices: {flips: [horizontal]}
run: ["$print('meant', [said(@turns), said(@listed), said(@slices)])"]
"""


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("false", False),
        ("FALSE", False),
        ("true", True),
        (" True ", True),
        ("null", None),
        ("None", None),
        ({"a": ["false", {"b": "null"}], "c": ("true", 1)}, {"a": [False, {"b": None}], "c": (True, 1)}),
    ],
)
def test_words_become_what_they_mean(given, meant):
    assert said(given) == meant


@pytest.mark.parametrize("value", [0, 1, "", "isic", "nullable", 0.5, None, True, [], {"none": 1}])
def test_everything_else_stays(value):
    assert said(value) == value
    assert type(said(value)) is type(value)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--turns", "false", "--listed", "null"], "[False, None, {'flips': ['horizontal']}]"),
        (["--turns", "False", "--slices#flips", "null"], "[False, 'isic', {'flips': None}]"),
        (["--listed", "None"], "[True, 'isic', {'flips': ['horizontal']}]"),  # MONAI drops it
    ],
)
def test_monais_command_line_says_it(arguments, meant, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    fire.Fire({"run": run}, command=["run", "--config_file", str(tmp_path / "tiny.yaml"), *arguments])
    assert f"meant {meant}" in capsys.readouterr().out
