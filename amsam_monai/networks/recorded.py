"""Networks remember the plain arguments that they were built with, so that a file can be compared with them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class BuiltWith:
    """What a network was built with.

    Args:
        constructor: name of the class or function.
        arguments: by name, defaults included; a module that was recorded itself stands by its own arguments, another
            one is left out.
    """

    constructor: str
    arguments: dict[str, Any]


NOTHING = BuiltWith("", {})


def recorded(function: Function) -> Function:
    """Let what a constructor (or a function that builds) makes carry its arguments as `built_with`.

    Goes over `__init__`, or over a function that returns a module; the outermost of several that are nested counts.
    """
    signature = inspect.signature(function)
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        made = function(*args, **kwargs)
        given = dict(bound.arguments)
        module = given.pop("self", made)
        for parameter in signature.parameters.values():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(parameter.name))
        given = {key: getattr(value, "built_with", NOTHING).arguments or value for key, value in given.items()}
        module.built_with = BuiltWith(name, {key: plain(value) for key, value in given.items() if is_plain(value)})
        return made

    return wrapper  # type: ignore[return-value]


def is_plain(value: Any) -> bool:
    """Whether a value can stand in a file: None, numbers, text, paths, and lists and mappings of them."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str | int) and is_plain(one) for key, one in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(is_plain(one) for one in value)
    return value is None or isinstance(value, bool | int | float | str | PathLike)


def plain(value: Any) -> Any:
    """The value as lists, dictionaries, numbers and text alone."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return fspath(value) if isinstance(value, PathLike) else value
