"""The version of the package that is installed."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("amsam-monai")
except PackageNotFoundError:  # used from a source tree that is not installed
    __version__ = "0.0.0"
