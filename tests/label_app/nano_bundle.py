"""A bundle of a few hundred kilobytes with a random network, for tests of what serves bundles."""

import json
from pathlib import Path
from pydoc import locate

import torch
import yaml

SYSTEMS = {
    "amsam": ("amsam_monai.networks.systems.amsam.AMSAM", {}),
    "aisam": ("amsam_monai.networks.systems.aisam.AISAM", {"encoder": "frozen", "gate": False}),
    "aisam_full": (
        "amsam_monai.networks.systems.aisam.AISAM",
        {"encoder": "full", "gate": False, "depth": 1, "num_points": 2},
    ),
    "autosam": (
        "amsam_monai.networks.systems.autosam.build_autosam",
        {"backbone": "efficientnet_lite0", "prompt_size": 64},
    ),
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
    from amsam_monai.handlers.checkpoints import save_adapter
    from amsam_monai.networks.sam import build_sam

    root = folder / name
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    target, settings = SYSTEMS[system]
    settings = {"num_classes": len(labels), **settings}
    torch.manual_seed(3)
    frozen = root / "models" / "nano_sam.pth"
    torch.save(build_sam("vit_nano", image_size=64).state_dict(), frozen)
    sam = {"backbone": "vit_nano", "weights": str(frozen), "image_size": 64}
    net = locate(target)(build_sam(**sam), **settings)
    block = {
        "system": system.removesuffix("_full"),
        "sam": sam,
        "classes": list(labels),
        "arguments": {name: value for name, value in settings.items() if name != "num_classes"},
        "intensity": intensity or {"mode": "percentile"},
    }
    save_adapter(net, root / "models" / "model.pt", settings=block)
    config = {
        "bundle_root": ".",
        "device": "$torch.device('cpu')",
        "imports": ["$import torch"],
        "network_def": {
            "_target_": target,
            "sam": {"_target_": "amsam_monai.networks.sam.build_sam", **sam},
            **settings,
        },
        "network": {
            "_target_": "amsam_monai.handlers.load_adapter",
            "network": "$@network_def.to(@device)",
            "path": "$@bundle_root + '/models/model.pt'",
        },
        "intensity": intensity or {"mode": "percentile"},
    }
    (root / "configs" / "inference.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
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
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))


def write_bright_bundle(folder: Path, plane: str, labels: tuple[str, ...] = ("bar",)) -> Path:
    """A bundle whose masks are the clicked bright regions, in slices of a plane; needs this repository on the path."""
    root = folder / (f"bright_{plane}" if len(labels) == 1 else f"bright_{plane}_{len(labels)}")
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    torch.save({"model": {}}, root / "models" / "model.pt")
    config = {
        "bundle_root": ".",
        "device": "cpu",
        "network": {"_target_": "tests.segment.toy_net.BrightRegions", "num_classes": len(labels), "automatic": []},
        "intensity": {"mode": "none"},
        "slices": {"axis": plane},
    }
    (root / "configs" / "inference.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    write_metadata(root, labels, "nifti")
    return root
