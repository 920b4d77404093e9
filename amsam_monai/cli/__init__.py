"""The command line: `amsam ...`. One file per command; each is imported only when it is called."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperGroup

# name of the command -> (module below amsam_monai.cli, one line of help)
COMMANDS: dict[str, tuple[str, str]] = {
    "bundle": ("bundle", "Build bundles from recipes, list them, and find them."),
    "weights": ("weights", "List, fetch and verify pretrained weights."),
    "train": ("train", "Train a segmenter on labelled images of your own."),
    "demo-data": ("demo_data", "Write a phantom data set in a real data set's layout."),
    "prepare": ("prepare", "Check a data set, list it, and draw its contact sheet."),
    "train-detector": ("train_detector", "Fit the box detector on the boxes of training masks."),
    "cache": ("cache", "Show or clear the embedding cache."),
    "segment": ("segment", "Segment a file or a folder with a bundle."),
    "evaluate": ("evaluate", "Score predictions against labels."),
    "compare": ("compare", "Compare two score summaries, case by case."),
    "confusion": ("confusion", "Prompt and output confusion matrices (AI-SAM, section 3)."),
    "export": ("export", "Write a bundle for other runtimes: ONNX, TorchScript, OpenVINO."),
    "convert": ("convert", "Convert published checkpoints."),
    "label": ("label", "Serve bundles through MONAI Label."),
    "annotate": ("annotate", "Open the web page for interactive segmentation."),
    "doctor": ("doctor", "Check packages, weights, bundles, devices, folders and ports."),
}


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is asked for, so that `amsam --help` stays quick."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, help_line = COMMANDS[cmd_name]
        command = typer.main.get_command(importlib.import_module(f"amsam_monai.cli.{module}").app)
        command.name = cmd_name
        command.help = command.help or help_line
        command.short_help = help_line
        for each in (command, *getattr(command, "commands", {}).values()):
            each.rich_markup_mode = None  # plain help comes in half the time of coloured boxes
        return command


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def main() -> None:
    """Segment Anything adapted to medical images from a few labels."""
