"""Which detector architectures are built: Ultralytics evaluates text in them, so only known words pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

# Layers of the detectors from YOLOv5 to YOLO26.
LAYERS = frozenset(
    {
        "A2C2f",
        "ADown",
        "AConv",
        "Bottleneck",
        "C2PSA",
        "C2f",
        "C2fCIB",
        "C2fPSA",
        "C3",
        "C3k2",
        "CBFuse",
        "CBLinear",
        "Concat",
        "Conv",
        "DWConv",
        "Detect",
        "ELAN1",
        "PSA",
        "RepNCSPELAN4",
        "SCDown",
        "SPP",
        "SPPELAN",
        "SPPF",
        "nn.Identity",
        "nn.Upsample",
        "v10Detect",
    }
)
ACTIVATIONS = frozenset(
    f"{prefix}{name}"
    for prefix in ("nn.", "torch.nn.")
    for name in ("SiLU()", "ReLU()", "ReLU6()", "LeakyReLU(0.1)", "Hardswish()", "GELU()", "Mish()", "Identity()")
)
WORDS = frozenset({"None", "True", "False", "nc", "nearest", "bilinear"})  # in the arguments of a layer
NUMBERS = ("nc", "reg_max", "depth_multiple", "width_multiple", "channels", "ch")
# More takes memory without end; the largest published detector has 1024 channels, 9 repeats, 43 layers, 156 M weights.
LARGEST = 2048  # of channels and places
MOST_REPEATS, MOST_LAYERS, MOST_TIMES = 16, 100, 4  # the last is a multiplier of channels and repeats
MOST_WEIGHTS = 400_000_000


def known_architecture(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a detector's architecture, as Ultralytics keeps it in a model's `yaml`, with what it needs alone.

    Raises:
        ValueError: a layer, an activation, a word or a number that no known detector has.
    """
    checked: dict[str, Any] = {
        name: _number(architecture[name], name, MOST_TIMES if name.endswith("_multiple") else LARGEST)
        for name in NUMBERS
        if name in architecture
    }
    if activation := architecture.get("activation"):
        if activation not in ACTIVATIONS:
            _refuse(f"activation must be one of {', '.join(sorted(ACTIVATIONS))}", activation)
        checked["activation"] = activation
    if "end2end" in architecture:
        checked["end2end"] = bool(architecture["end2end"])
    if scales := architecture.get("scales"):
        checked["scales"] = {str(name): _scale(values) for name, values in scales.items()}
    if (scale := architecture.get("scale")) is not None:
        if scale not in checked.get("scales", ()):
            _refuse("scale must be one of the scales", scale)
        checked["scale"] = scale
    for part in ("backbone", "head"):
        checked[part] = [_layer(row) for row in architecture.get(part) or _refuse(f"{part} must list layers", None)]
    if len(checked["backbone"]) + len(checked["head"]) > MOST_LAYERS:
        _refuse(f"a detector must have at most {MOST_LAYERS} layers", len(checked["backbone"]))
    return checked


def _layer(row: Any) -> list[Any]:
    if not isinstance(row, list | tuple) or len(row) != 4:
        _refuse("a layer must be [from, repeats, name, arguments]", row)
    place, repeats, name, arguments = row
    if name not in LAYERS:
        _refuse(f"a layer must be one of {', '.join(sorted(LAYERS))}", name)
    return [_argument(place), _number(repeats, "repeats", MOST_REPEATS), name, _argument(list(arguments))]


def _scale(values: Any) -> list[Any]:
    """Multipliers of repeats and of channels, then the most channels."""
    if not isinstance(values, list | tuple) or len(values) != 3:
        _refuse("a scale must be [repeats, channels, most channels]", values)
    return [*(_number(one, "a scale's multiplier", MOST_TIMES) for one in values[:2]), _argument(values[2])]


def _argument(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_argument(one) for one in value]
    if isinstance(value, str):
        if value not in WORDS:
            _refuse(f"an argument of a layer must be a number or one of {', '.join(sorted(WORDS))}", value)
        return value
    return value if value is None or isinstance(value, bool) else _number(value, "an argument of a layer")


def _number(value: Any, name: str, most: int = LARGEST) -> Any:
    if not isinstance(value, int | float) or not abs(value) <= most:  # also refuses NaN
        _refuse(f"{name} must be a number up to {most}", value)
    return value


def check_weights(count: int) -> None:
    """Refuse a detector of more weights than any has.

    Raises:
        ValueError: there are more.
    """
    if count > MOST_WEIGHTS:
        _refuse(f"it must have at most {MOST_WEIGHTS} weights", count)


def _refuse(rule: str, got: Any) -> NoReturn:
    raise ValueError(f"detector architecture: {rule}, got {str(got)[:100]!r}; it is not built.")
