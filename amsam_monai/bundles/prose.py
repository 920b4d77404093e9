"""YAML that is read by people: a tree that keeps comments and the writing of values, to be merged and written again."""

from __future__ import annotations

import functools
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

WIDTH = 120
COLUMN = 20  # where comments behind short values begin


@dataclass
class Scalar:
    """A value as it is written, quotes included; with a tag of a recipe (!drop, !moved) what stands behind it."""

    text: str
    tag: str = ""


@dataclass
class Entry:
    """A value with its comments.

    Args:
        value: what stands behind the key, or in the list.
        before: comment and empty lines above it, without indentation.
        after: comment at the end of its line.
    """

    value: Value
    before: list[str] = field(default_factory=list)
    after: str = ""


@dataclass
class Map:
    """A mapping, in braces where `flow`; its keys are as they are written, in quotes where YAML needs them."""

    entries: dict[str, Entry] = field(default_factory=dict)
    flow: bool = False


@dataclass
class Seq:
    """A list, in brackets where `flow`."""

    items: list[Entry] = field(default_factory=list)
    flow: bool = False


Value = Scalar | Map | Seq


def read(text: str) -> Map:
    """The tree of a YAML text that is a mapping.

    Raises:
        ValueError: it is no YAML or no mapping, or has a key twice.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"a recipe must be YAML, got {error}") from error
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"a recipe must be a mapping, got {type(node).__name__}.")
    tree = _Reader(text).value(node)
    assert isinstance(tree, Map)
    return tree


def plain(value: Value) -> Any:
    """The tree as plain values."""
    block = isinstance(value, Map) and not value.flow and value.entries
    return yaml.safe_load(write(value) if block else inline(value))  # type: ignore[arg-type]


def write(tree: Map) -> str:
    """The tree as YAML text in ASCII, since MONAI reads configs in the machine's encoding."""
    return "\n".join(_block(tree, 0)).strip("\n") + "\n"


class _Reader:
    """Nodes of PyYAML into trees; comments are matched by their lines."""

    def __init__(self, text: str) -> None:
        self.text, self.lines = text, text.splitlines()

    def value(self, node: yaml.Node) -> Value:
        if isinstance(node, yaml.MappingNode):
            flow = bool(node.flow_style)
            _refuse_twice([key for key, _ in node.value])
            pairs = {_key(key): self.entry(key, value, flow) for key, value in node.value}
            return Map(pairs, flow)
        if isinstance(node, yaml.SequenceNode):
            flow = bool(node.flow_style)
            return Seq([self.entry(None, item, flow) for item in node.value], flow)
        if node.tag.startswith("!"):
            return Scalar(node.value, tag=node.tag)
        return Scalar(self.text[node.start_mark.index : node.end_mark.index].strip())

    def entry(self, key: yaml.Node | None, node: yaml.Node, flow: bool) -> Entry:
        value = self.value(node)
        if flow:
            return Entry(value)
        short = isinstance(value, Scalar) or value.flow
        mark = node.end_mark if short else (key.end_mark if key is not None else None)
        return Entry(value, self.above((key or node).start_mark.line), self.behind(mark) if mark else "")

    def above(self, line: int) -> list[str]:
        """Comment and empty lines directly above a line."""
        found: list[str] = []
        while line > 0 and (not (text := self.lines[line - 1].strip()) or text.startswith("#")):
            found.insert(0, text)
            line -= 1
        return found

    def behind(self, mark: yaml.Mark) -> str:
        """The comment at the end of a line, behind a value or a key's colon."""
        rest = self.lines[mark.line][mark.column :].lstrip(" :") if mark.line < len(self.lines) else ""
        return rest.strip() if rest.startswith("#") else ""


def _key(node: yaml.Node) -> str:
    """A key as it is to be written; in recipes, # parts a path."""
    text = str(node.value)
    written = in_yaml(text, text) if node.tag == "tag:yaml.org,2002:str" else text
    if "#" in written and written != text:
        raise ValueError(f"a key must do without #, which parts a path, or without what needs quotes, got {text!r}.")
    return written


def _refuse_twice(keys: list[yaml.Node]) -> None:
    for (_, key), count in Counter((key.tag, key.value) for key in keys).items():
        if count > 1:
            lines = sorted({node.start_mark.line + 1 for node in keys if node.value == key})
            where = "line " + " and ".join(map(str, lines))
            raise ValueError(f"a key must stand once in its mapping, got {key!r} {count} times, in {where}.")


@functools.cache
def in_yaml(text: str, meaning: str) -> str:
    """`text`, where YAML reads it as the string that is meant, in braces and brackets too; else that in quotes.

    What is not ASCII is escaped.
    """
    try:
        plainly = (
            text.isascii()
            and yaml.safe_load(f"[{text}]") == [meaning]
            and yaml.safe_load(f"{{{text}: 0}}") == {meaning: 0}
        )
    except yaml.YAMLError:
        plainly = False
    quoted: str = yaml.safe_dump(meaning, default_style='"', width=float("inf"))
    return text if plainly else quoted.rstrip("\n")


def inline(value: Value, *, within: bool = False) -> str:
    """A value on one line; `within` braces or brackets, where commas and colons part."""
    if isinstance(value, Scalar):
        careful = within or not value.text.isascii()
        meaning = yaml.safe_load(value.text) if careful and not value.tag else None
        return in_yaml(value.text, meaning) if isinstance(meaning, str) else value.text
    if isinstance(value, Map):
        entries = value.entries.items()
        return "{" + ", ".join(f"{key}: {inline(entry.value, within=True)}" for key, entry in entries) + "}"
    return "[" + ", ".join(inline(entry.value, within=True) for entry in value.items) + "]"


def _short(value: Value, used: int) -> bool:
    """Whether a value stands behind its key: a plain one, one in braces that fits, an empty one."""
    if isinstance(value, Scalar):
        return True
    empty = not (value.entries if isinstance(value, Map) else value.items)
    return empty or (value.flow and used + len(inline(value)) <= WIDTH)


def _block(tree: Map, indent: int) -> Iterator[str]:
    pad = " " * indent
    for key, entry in tree.entries.items():
        yield from _comment(entry.before, pad)
        if _short(entry.value, indent + len(key) + 2):
            yield from _line(f"{pad}{key}: {inline(entry.value)}", entry.after, pad)
        else:
            yield from _line(f"{pad}{key}:", entry.after, pad)
            yield from _below(entry.value, indent + 2)


def _below(value: Value, indent: int) -> Iterator[str]:
    if isinstance(value, Map):
        yield from _block(value, indent)
    elif isinstance(value, Seq):
        pad = " " * indent
        for item in value.items:
            yield from _comment(item.before, pad)
            if _short(item.value, indent + 2):
                yield from _line(f"{pad}- {inline(item.value)}", item.after, pad)
            else:
                first, *rest = _below(item.value, indent + 2)
                yield f"{pad}- {first.lstrip()}"
                yield from rest


def _line(text: str, comment: str, pad: str) -> Iterator[str]:
    """A line with its comment behind it, or above it where there is no room."""
    if not comment:
        yield text
        return
    column = COLUMN + 2 * len(pad)
    line = f"{text:<{column - 1}} {comment}" if len(text) < column else f"{text}  {comment}"
    if len(line) <= WIDTH and line.isascii():
        yield line
    else:
        yield from _comment([comment], pad)
        yield text


def _comment(lines: list[str], pad: str) -> Iterator[str]:
    for line in wrapped(lines, WIDTH - len(pad)):
        yield (pad + line).rstrip().encode("ascii", "backslashreplace").decode()


def wrapped(lines: list[str], width: int = WIDTH, *, anew: bool = False) -> list[str]:
    """Comment lines with those paragraphs set anew that are too wide, or all; what is indented (a command) stays."""
    made: list[str] = []
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("# ") and not line.startswith("#   "):
            paragraph.append(line)
            continue
        if paragraph and (anew or any(len(one) > width for one in paragraph)):
            text = " ".join(one[2:] for one in paragraph)
            paragraph = textwrap.wrap(
                text, width, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False, break_long_words=False
            )
        made += [*paragraph, line]
        paragraph = []
    return made[:-1]
