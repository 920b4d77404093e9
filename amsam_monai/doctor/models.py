"""Pretrained weights and bundles, each checked by its digest."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

from amsam_monai.bundles.find import HOW_TO_GET, bundles_here
from amsam_monai.doctor.check import Check
from amsam_monai.installed import remedy
from amsam_monai.networks.weights import store
from amsam_monai.networks.weights.catalogue import CATALOGUE


def weights() -> Iterator[Check]:
    """Catalogued weights that are here, and those that most bundles need."""
    for name, item in CATALOGUE.items():
        if (store.weights_dir() / item.file).is_file():
            try:
                known = store.verify(name).known
                said = "its digest is the catalogue's" if known else "the catalogue has no digest to compare with"
                yield Check("weights", name, "ok", f"downloaded; {said}")
            except ValueError as error:
                mend = f"remove {store.weights_dir() / item.file}, then: amsam weights fetch {name}"
                yield Check("weights", name, "failed", str(error), mend)
        elif name in store.DEFAULT_NAMES:
            yield Check("weights", name, "optional", "not downloaded", f"amsam weights fetch {name}")


def bundles() -> Iterator[Check]:
    """Bundles in reach: whether they are trained, and whether their model files are whole."""
    from amsam_monai.bundles.model_file import read_model

    found = list(bundles_here())
    if not found:
        yield Check("bundles", "bundles", "optional", "no bundle found", HOW_TO_GET)
    for root in found:
        path = root / "models" / "model.pt"
        if not path.is_file():
            yield Check(
                "bundles",
                root.name,
                "optional",
                "not trained yet",
                f"cd {root} && python -m monai.bundle run --config_file configs/train.yaml --dataset_dir DIR",
            )
            continue
        try:
            settings = read_model(path).settings
        except (ValueError, OSError) as error:
            yield Check(
                "bundles", root.name, "failed", str(error), remedy(path, "fetch the bundle again, or train it anew")
            )
            continue
        said = f"trained; its model file is whole ({path.stat().st_size / 2**20:.1f} MiB)"
        if settings.detector is not None and settings.detector_architecture == "yolo" and not _has_ultralytics():
            mend = "pip install ultralytics, or train it with --settings#detector#architecture embedding"
            yield Check("bundles", root.name, "optional", f"{said}; its detector needs ultralytics", mend)
        else:
            yield Check("bundles", root.name, "ok", said)


def _has_ultralytics() -> bool:
    try:
        metadata.version("ultralytics")
    except metadata.PackageNotFoundError:
        return False
    return True
