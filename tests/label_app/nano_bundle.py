"""A bundle of a few hundred kilobytes with a random network, for tests of what serves bundles."""

import json
from pathlib import Path

import torch

SYSTEMS = {
    "amsam": ("amsam", {}),
    "amsam_objects": ("amsam", {"objects": "all", "dark_object_weight": 0.95}),
    "aisam": ("aisam", {"encoder": "frozen", "gate": False}),
    "aisam_full": ("aisam", {"encoder": "full", "gate": False, "depth": 1, "num_points": 2}),
    "autosam": ("autosam", {"backbone": "efficientnet_lite0", "prompt_size": 64}),
}


def write_nano_bundle(
    folder: Path,
    *,
    name: str = "nano_segmentation",
    system: str = "amsam",
    labels: tuple[str, ...] = ("liver", "spleen"),
    data_type: str = "nifti",
    intensity: dict | None = None,
) -> Path:
    """Write the bundle; the same arguments give the same weights."""
    from amsam_monai.bundles.network import build_network
    from amsam_monai.handlers.checkpoints import save_adapter
    from amsam_monai.networks.sam import build_sam

    root = folder / name
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.manual_seed(3)
    frozen = root / "models" / "nano_sam.pth"
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), frozen)
    system, arguments = SYSTEMS[system]
    settings = {
        "system": system,
        "sam": {"backbone": "vit_nano", "weights": str(frozen), "image_size": 64},
        "classes": list(labels),
        "arguments": arguments,
        "intensity": intensity or {"mode": "percentile"},
    }
    save_adapter(build_network(settings), root / "models" / "model.pt", settings=settings)
    (root / "configs" / "inference.yaml").write_text("settings: {}\n", encoding="utf-8")
    write_metadata(root, labels, data_type)
    return root


def write_metadata(root: Path, labels: tuple[str, ...], data_type: str) -> None:
    channels = {"0": "background", **{str(at): label for at, label in enumerate(labels, 1)}}
    metadata = {
        "version": "0.1.0",
        "description": "A network for tests.",
        "data_type": data_type,
        "network_data_format": {
            "inputs": {"image": {"spatial_shape": ["*", "*"]}},
            "outputs": {"pred": {"channel_def": channels}},
        },
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")


def write_bright_bundle(folder: Path, plane: str, labels: tuple[str, ...] = ("bar",)) -> Path:
    """A bundle whose masks are the clicked bright regions, in slices of a plane; see `site`."""
    from amsam_monai.bundles.model_file import write_model

    root = folder / (f"bright_{plane}" if len(labels) == 1 else f"bright_{plane}_{len(labels)}")
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    settings = {
        "system": "bright",
        "sam": {"backbone": "vit_nano", "weights": None, "image_size": 64},
        "classes": list(labels),
        "intensity": {"mode": "none"},
        "slices": {"axis": plane},
    }
    write_model(root / "models" / "model.pt", {}, settings)
    (root / "configs" / "inference.yaml").write_text("settings: {}\n", encoding="utf-8")
    write_metadata(root, labels, "nifti")
    return root
