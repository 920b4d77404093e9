"""A bundle's run that fails ends in one sentence."""

import logging
import os
import subprocess
import sys

from amsam_monai.bundles import plain_errors
from amsam_monai.bundles.plain_errors import end_plainly, first_cause, told_once
from tests.bundles.runs import BUNDLES

CONFIG = BUNDLES / "isic_amsam_segmentation" / "configs" / "train.yaml"


def test_monai_bundle_run_says_what_is_wrong_and_nothing_round_it(folder):
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIG), "--dataset_dir", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "AMSAM_TRACEBACK": ""})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "error: FileNotFoundError: nowhere: no such folder. (AMSAM_TRACEBACK=1 shows where.)"
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_other_processes_keep_their_tracebacks():
    before = sys.excepthook
    end_plainly()
    assert sys.excepthook is before


def wrapped_by_monai(error):
    """As MONAI raises it: from a frame of its own."""
    space = {"__name__": "monai.bundle.config_item", "error": error}
    exec(compile("def fail():\n    raise RuntimeError('Failed to evaluate') from error", "monai", "exec"), space)
    try:
        space["fail"]()
    except RuntimeError as caught:
        return caught


def test_the_cause_of_an_error_of_monais_is_what_counts():
    cause = ValueError("shots must be at least 1, got 0.")
    assert first_cause(wrapped_by_monai(wrapped_by_monai(cause))) is cause
    assert first_cause(cause) is cause


def test_bugs_keep_the_traceback_of_their_cause(capsys):
    bug = wrapped_by_monai(KeyError("a bug"))
    plain_errors._say(type(bug), bug, bug.__traceback__)
    assert capsys.readouterr().err.strip() == "KeyError: 'a bug'"
    mistake = ValueError("shots")
    plain_errors._say(ValueError, mistake, None)
    assert capsys.readouterr().err.strip() == "error: ValueError: shots (AMSAM_TRACEBACK=1 shows where.)"


def test_what_ignite_says_of_an_error_is_left_out_of_a_command_and_news_stay(caplog, monkeypatch):
    monkeypatch.delenv("AMSAM_TRACEBACK", raising=False)
    trainer = logging.getLogger("ignite.engine.engine.SupervisedTrainer")
    with told_once():
        trainer.error("Engine run is terminating due to exception: 143")
        trainer.warning("a warning")
        logging.getLogger("amsam_monai").error("news")
    assert caplog.messages == ["a warning", "news"]
    trainer.error("again")
    monkeypatch.setenv("AMSAM_TRACEBACK", "1")
    with told_once():
        trainer.error("as asked")
    assert caplog.messages == ["a warning", "news", "again", "as asked"]
