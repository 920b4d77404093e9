"""Every command on the pages is one: its options, files and names are there."""

import functools
import inspect
import re
import shlex
from importlib import metadata
from pathlib import Path

import pytest
import typer
from monai.bundle import ckpt_export

from amsam_monai.cli import app
from tests.docs.pages import PAGES, ROOT, blocks, name_of, prose

SHELL = ("", "bash", "console", "sh")
OF_THE_SYSTEM = (
    "cd",
    "cp",
    "curl",
    "dask",
    "docker",
    "export",
    "fslsplit",
    "git",
    "make",
    "python3",
    "source",
    "ssh",
    "sudo",
)
AMSAM = typer.main.get_command(app)
OURS = re.compile(r"amsam[-_.]?monai", re.IGNORECASE)
EXTRAS = metadata.metadata("amsam-monai").get_all("Provides-Extra")


def wrong_with(words: list[str]) -> str:
    """What is wrong with a command, or nothing."""
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # settings of the environment before a command
        words = words[1:]
    if not words:
        return ""
    program, *arguments = words
    program = program.rpartition("/")[2]
    if program == "amsam":
        return wrong_with_amsam(arguments)
    if program in ("python", "torchrun"):
        return wrong_with_python(arguments)
    if program in ("pip", "uv"):
        return wrong_with_pip(arguments)
    if program == "make":
        return wrong_with_make(arguments)
    return "" if program in OF_THE_SYSTEM else f"{program} is no known program"


def wrong_with_amsam(arguments: list[str]) -> str:
    command, path = AMSAM, ["amsam"]
    context = command.make_context("amsam", ["doctor"], resilient_parsing=True)
    while hasattr(command, "get_command") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        command, path = command.get_command(context, name), [*path, name]
        if command is None:
            return f"{' '.join(path)} is no command"
    if arguments in ([], ["--help"], ["--version"], ["..."]):
        return ""
    arguments = [word for word in arguments if word != "..."]
    options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
    places = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    given = 0
    while arguments:
        word = arguments.pop(0)
        if not word.startswith("-"):
            given += 1
        elif word not in options:
            return f"{' '.join(path)} has no option {word}"
        elif not getattr(options[word], "is_flag", False):
            arguments = arguments[max(1, options[word].nargs) :]
    several = any(place.nargs == -1 for place in places)
    return f"{' '.join(path)} takes {len(places)} arguments, got {given}" if given > len(places) and not several else ""


def wrong_with_python(arguments: list[str]) -> str:
    while arguments and arguments[0].startswith("--"):  # torchrun's own
        arguments = arguments[1 if "=" in arguments[0] or arguments[0] == "--standalone" else 2 :]
    if arguments[:3] == ["-m", "monai.bundle", "run"]:
        return wrong_with_monai(arguments[3:])
    if arguments[:3] == ["-m", "monai.bundle", "ckpt_export"]:
        known = inspect.signature(ckpt_export).parameters
        return ", ".join(
            f"ckpt_export has no {word}" for word in arguments[3::2] if word.removeprefix("--") not in known
        )
    if arguments[:2] == ["-m", "amsam_monai.runtime"]:
        return "" if len(arguments) == 5 else f"amsam_monai.runtime takes 3 arguments, got {len(arguments) - 2}"
    if arguments[:1] == ["-m"] and arguments[1] in ("venv", "pip", "pytest", "build"):
        return wrong_with_pip(arguments[2:]) if arguments[1] == "pip" else ""
    if arguments and arguments[0].endswith(".py"):
        script = ROOT / arguments[0]
        if not script.is_file():
            return f"{arguments[0]} is not there"
        source = script.read_text(encoding="utf-8")
        options = [word.partition("=")[0] for word in arguments[1:] if word.startswith("--")]
        return ", ".join(f"{arguments[0]} has no {option}" for option in options if f'"{option}"' not in source)
    return f"python {' '.join(arguments)} is not understood"


def wrong_with_monai(arguments: list[str]) -> str:
    """Files that are no configs, and overrides that no config of a bundle has."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    names = re.findall(r"configs/(\w+)\.yaml", options.pop("--config_file"))
    if not names or not any(set(names) <= set(configs) for configs in config_keys()):
        return f"no bundle has all of {', '.join(names)}"
    known = {"bundle_root", "meta_file", "logging_file"}
    for configs in config_keys():
        known = known.union(*(configs.get(name, ()) for name in names))
    asked = [option.removeprefix("--").partition("#")[0] for option in options]
    return ", ".join(f"no config has {name}" for name in asked if name not in known)


@functools.cache
def config_keys() -> list[dict[str, list[str]]]:
    """Of each bundle its configs, and of each config what it sets."""
    keys = functools.partial(re.findall, r"^(\w+)[:#]", flags=re.MULTILINE)
    folders = [path / "configs" for path in (ROOT / "bundles").iterdir() if path.is_dir()]
    return [{path.stem: keys(path.read_text(encoding="utf-8")) for path in one.glob("*.yaml")} for one in folders]


def wrong_with_pip(arguments: list[str]) -> str:
    """The package lies on no index: it is installed from its folder or its wheel, with extras that it has."""
    for word in arguments:
        if OURS.match(word) and "/" not in word and not re.search(r"\.whl(\[[\w,]+\])?$", word):
            return f"{word} is on no index"
        if match := re.search(r"(?:^\.|\.whl)\[([\w,]+)\]$", word):
            unknown = set(match[1].split(",")) - set(EXTRAS)
            if unknown:
                return f"there is no extra {', '.join(sorted(unknown))}"
    return ""


def wrong_with_make(arguments: list[str]) -> str:
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    asked = [word for word in arguments if "=" not in word and not word.startswith("-")]
    return ", ".join(f"make has no target {name}" for name in asked if name not in targets)


def commands(text: str, prompt: bool) -> list[list[str]]:
    """Commands of a block; with a prompt only what follows it, the rest is what they print."""
    text = re.sub(r"\[(--[^\]]*)\]", r"\1", text)  # options that may be left out
    lines = text.replace("\\\n", " ").splitlines()
    if prompt:
        lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    found: list[list[str]] = []
    for line in lines:
        found.append([])
        for word in shlex.split(re.sub(r"(^|\s)#\s.*", "", line)):
            if word in ("&&", "|", ";"):
                found.append([])
                continue
            found[-1].append(word.removesuffix(";"))
            if word.endswith(";"):
                found.append([])
    return [one for one in found if one]


def faults(page: Path) -> list[str]:
    found = []
    for block in blocks(page):
        if block.language in SHELL:
            prompt = any(line.startswith("$ ") for line in block.text.splitlines())
            for words in commands(block.text, prompt):
                if fault := wrong_with(words):
                    found.append(f"line {block.line}: {fault}")
    for code in re.findall(r"`((?:amsam|make|(?:uv )?pip install) [a-z\"'.-][^`]*)`", prose(page)):
        if fault := wrong_with(shlex.split(code.replace("\n", " "))):
            found.append(f"`{code}`: {fault}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_of_a_page_are_commands(page):
    assert faults(page) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("amsam segmnt a b", "amsam segmnt is no command"),
        ("amsam segment a b --bundel x", "amsam segment has no option --bundel"),
        ("amsam segment a b c --bundle x", "amsam segment takes 2 arguments, got 3"),
        ("python scripts/gone.py", "scripts/gone.py is not there"),
        ("python scripts/bench_own.py --rowz a", "scripts/bench_own.py has no --rowz"),
        ("python -m monai.bundle run --config_file configs/gone.yaml", "no bundle has all of gone"),
        ("python -m monai.bundle run --config_file configs/train.yaml --shotz 8", "no config has shotz"),
        ("python -m monai.bundle ckpt_export --net_ids a", "ckpt_export has no --net_ids"),
        ("python -m amsam_monai.runtime a b", "amsam_monai.runtime takes 3 arguments, got 2"),
        ("pip install 'amsam-monai[detector]'", "amsam-monai[detector] is on no index"),
        ("pip install -U amsam_monai==0.1", "amsam_monai==0.1 is on no index"),
        ("uv pip install amsam-monai-bundles", "amsam-monai-bundles is on no index"),
        ("pip install 'amsam_monai-0.1.0-py3-none-any.whl[labels]'", "there is no extra labels"),
        ("pip install '.[detectors]'", "there is no extra detectors"),
        ("make tests", "make has no target tests"),
        ("frobnicate a", "frobnicate is no known program"),
    ],
)
def test_a_command_that_is_none_is_found(text, fault):
    assert wrong_with(shlex.split(text)) == fault


@pytest.mark.parametrize(
    "text",
    [
        "amsam label start DIR -b X --queue 4",
        "amsam weights fetch a b c",
        "A=b amsam train X --out Y --minutes 9",
        "pip install -c constraints.txt -e '.[annotate,detector]'",
        "pip install 'dist/amsam_monai-0.1.0-py3-none-any.whl[annotate]' amsam_monai_bundles-0.1.0-py3-none-any.whl",
    ],
)
def test_a_command_that_is_one_passes(text):
    assert wrong_with(shlex.split(text)) == ""


def from_an_index(text: str) -> list[str]:
    """Orders to pip, anywhere in a text, that would look for this package on an index."""
    orders = re.findall(r"\b(?:install|download|add)\b([^\n`]*)", text)
    words = [word.strip("\"'(),;:.") for order in orders for word in order.split()]
    return [word for word in words if wrong_with_pip([word]).endswith("is on no index")]


def test_no_file_of_the_repository_installs_the_package_from_an_index():
    places = ("amsam_monai/**/*.py", "amsam_monai/**/*.yaml", "amsam_monai/**/*.md", "scripts/**/*.py", "docs/**/*.md")
    places += ("bundles/*/docs/*.md", "*.md", "*.txt", "*.toml", "bundles/*.toml", "Makefile")
    files = [path for place in places for path in sorted(ROOT.glob(place))]
    assert len(files) > 300
    found = {name_of(path): from_an_index(path.read_text(encoding="utf-8")) for path in files}
    assert {name: orders for name, orders in found.items() if orders} == {}


def test_an_order_to_pip_is_found_in_any_text():
    assert from_an_index("mend = \"pip install 'amsam-monai[detector]'\"") == ["amsam-monai[detector]"]
    assert from_an_index("Then `uv add amsam_monai`.") == ["amsam_monai"]
    assert from_an_index('pip install "amsam_monai-{__version__}-py3-none-any.whl[label]"') == []
