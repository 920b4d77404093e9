"""The MONAI Label app."""
