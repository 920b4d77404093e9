"""Which arguments of a network training fixes, and which are defaults that an override may change.

A new argument must enter one of the two tables, or FIELDS where it has a place of its own in the settings: a test
walks the signatures.
"""

from __future__ import annotations

# Architecture, and what the weights were trained with: another value makes another network of the same weights.
FIXED: dict[str, frozenset[str]] = {
    "amsam": frozenset(
        {
            "box_centre_point",
            "calibration",
            "alpha",
            "lora_rank",
            "encoder",
            "encoder_lora_rank",
            "encoder_adapters",
            "decoder",
            "joint",
        }
    ),
    "aisam": frozenset(
        {
            "num_points",
            "num_class_tokens",
            "num_class_prompts",
            "depth",
            "encoder",
            "encoder_lora_rank",
            "decoder",
            "decoder_lora_rank",
            "train_quality",
            "calibration",
            "alpha",
            "box_tokens",
            "automatic_points",
        }
    ),
    "autosam": frozenset(
        {"backbone", "backbone_weights", "domains", "tuned", "prompt_size", "lora_rank", "normalise_twice"}
    ),
    "unified": frozenset({"points", "generator"}),
    "mean": frozenset({"members"}),
    "detector": frozenset({"class_names", "classes", "image_size", "resize", "encoder", "cases"}),
}

# What the network does with its weights: floors, fallbacks, second looks.
DEFAULTS: dict[str, frozenset[str]] = {
    "amsam": frozenset({"missing_box", "dark_object_weight", "objects", "windows"}),
    "aisam": frozenset(
        {"one_hot", "train_one_hot", "second_look", "gate", "presence_threshold", "box_source", "box_margin"}
    ),
    "autosam": frozenset({"light", "domain"}),
    "unified": frozenset(),
    "mean": frozenset(),
    "detector": frozenset(
        {
            "confidence",
            "more_sizes",
            "flips",
            "vote_iou",
            "snap_to_dark_object",
            "object_confidence",
            "object_overlap",
            "most_objects",
        }
    ),
}
FIXED["unified"] |= FIXED["aisam"] - {"box_tokens", "automatic_points"}
DEFAULTS["unified"] |= DEFAULTS["aisam"] - {"box_source"}

# What stands in fields of its own: `sam`, `classes`, `resize` and `detector` of the settings; parts that are modules.
FIELDS: dict[str, frozenset[str]] = {
    "amsam": frozenset({"sam", "num_classes", "resize", "detector"}),
    "aisam": frozenset({"sam", "num_classes", "resize", "detector", "dense_prompter"}),
    "autosam": frozenset({"sam", "num_classes", "resize", "generator", "surrogate"}),
    "unified": frozenset({"sam", "num_classes", "resize", "detector"}),
    "mean": frozenset({"sam", "num_classes", "resize", "detector"}),
    "detector": frozenset({"model"}),
}
# What a member of a mean says for itself; everything else is that of the whole.
MEMBER = ("system", "image_size", "arguments", "detector")
DETECTORS = ("yolo", "embedding")  # architectures of `detector` in the settings
SAM_ARGUMENTS = ("backbone", "weights", "image_size", "normalise")


def known_arguments(system: str) -> frozenset[str] | None:
    """Arguments that the settings of a system may hold; None for a system that is not ours."""
    return FIXED[system] | DEFAULTS[system] if system in FIXED else None


def is_default(system: str, argument: str) -> bool:
    """Whether an override may change the argument; what another's system calls its own is fixed."""
    return argument in DEFAULTS.get(system, ())
