"""Few labels are not lost: every labelled case can train, parts can be listed, and nothing to score is said."""

import pytest

from amsam_monai.phantoms.sets import write_phantoms
from tests.bundles.runs import NANO, adapter_of, workflow_of

METHODS = {
    "isic_amsam_segmentation": {"views": 1, "steps_per_epoch": 1, "settings#detector": None},
    "isic_aisam_segmentation": {"window": 0, "settings#arguments#depth": 1, "warmup": 1, "mixed_phantoms": 2},
    "glas_autosam_segmentation": {"settings#arguments#backbone_weights": None, "views": 1, "preset": "plain"},
}
BUNDLE = "glas_autosam_segmentation"
# As a command line gives them
ALL_TRAIN = {"listed": "null", "shots": "all", "val": 0, "test": 0, "max_epochs": 1}


def settings(bundle, folder):
    """Three pictures, and what trains on them for an instant."""
    if not (folder / "data").is_dir():
        list(write_phantoms("isic", folder / "data", cases=3, side=48))
    places = {"bundle_root": str(folder), "dataset_dir": str(folder / "data"), "output_dir": str(folder / "out")}
    return {**NANO, **METHODS[bundle], **ALL_TRAIN, **places}


@pytest.mark.parametrize("bundle", METHODS)
def test_all_cases_train_and_the_adapter_is_kept(bundle, folder):
    made = workflow_of(bundle, **settings(bundle, folder))
    assert [len(part) for part in made.parser.get_parsed_content("sections").values()] == [3, 0, 0]
    made.run()
    made.finalize()
    assert adapter_of(folder)


def test_an_evaluation_without_a_case_says_so(folder):
    with pytest.raises(RuntimeError) as refused:
        workflow_of(BUNDLE, ("train", "evaluate"), **settings(BUNDLE, folder))
    causes, error = [], refused.value
    while error is not None:
        causes.append(str(error))
        error = error.__cause__
    assert any("there is no case to score: the part 'test' of the data is empty" in cause for cause in causes)


def test_parts_are_listed_on_the_command_line(folder):
    chosen = settings(BUNDLE, folder)
    names = sorted(path.stem for path in (folder / "data" / "images").iterdir())
    (folder / "test.txt").write_text(names[2], encoding="utf-8")
    chosen |= {"shots": "null", "train_ids": names[:1], "val_ids": "null", "test_ids": str(folder / "test.txt")}
    parts = workflow_of(BUNDLE, **chosen).parser.get_parsed_content("sections")
    listed = {part: [case["case_id"] for case in cases] for part, cases in parts.items()}
    assert listed == {"train": names[:1], "val": [], "test": names[2:]}


@pytest.mark.parametrize("word", ["null", "None", "NULL"])
def test_null_means_nothing_wherever_ids_are_listed(word, folder):
    chosen = settings(BUNDLE, folder)
    chosen |= dict.fromkeys(("train_ids", "val_ids", "test_ids", "patients", "test"), word)
    parts = workflow_of(BUNDLE, **chosen).parser.get_parsed_content("sections")
    assert len(parts["train"]) == 3
