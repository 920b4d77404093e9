"""Data sets as MONAI datalists: checked, with stable ids, in every layout they are handed around in."""

from amsam_monai.data.datasets.acdc import acdc_datalist, find_acdc
from amsam_monai.data.datasets.cases import Case, DatasetError, Listing, Problem
from amsam_monai.data.datasets.image_folder import find_images, image_folder_datalist
from amsam_monai.data.datasets.isic import find_isic, isic_datalist
from amsam_monai.data.datasets.reading import LoadCased, read_case
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
