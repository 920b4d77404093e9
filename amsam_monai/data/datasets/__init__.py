"""Data sets as MONAI datalists: checked, with stable ids, in every layout they are handed around in."""

from typing import TYPE_CHECKING

from amsam_monai.lazy import lazily

if TYPE_CHECKING:
    from amsam_monai.data.datasets.acdc import acdc_datalist, find_acdc
    from amsam_monai.data.datasets.cases import Case, DatasetError, Listing, Problem
    from amsam_monai.data.datasets.image_folder import find_images, image_folder_datalist
    from amsam_monai.data.datasets.isic import find_isic, isic_datalist
    from amsam_monai.data.datasets.load_cased import LoadCased
    from amsam_monai.data.datasets.reading import read_case
    from amsam_monai.data.datasets.synapse import find_synapse, synapse_datalist

__all__ = [
    "Case",
    "DatasetError",
    "Listing",
    "LoadCased",
    "Problem",
    "acdc_datalist",
    "find_acdc",
    "find_images",
    "find_isic",
    "find_synapse",
    "image_folder_datalist",
    "isic_datalist",
    "read_case",
    "synapse_datalist",
]

__getattr__ = lazily(
    __name__,
    {
        "acdc_datalist": "acdc",
        "find_acdc": "acdc",
        "Case": "cases",
        "DatasetError": "cases",
        "Listing": "cases",
        "Problem": "cases",
        "find_images": "image_folder",
        "image_folder_datalist": "image_folder",
        "find_isic": "isic",
        "isic_datalist": "isic",
        "LoadCased": "load_cased",
        "read_case": "reading",
        "find_synapse": "synapse",
        "synapse_datalist": "synapse",
    },
)
