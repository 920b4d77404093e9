"""Recipes of bundles, in YAML; read by `amsam_monai.bundles.recipes`."""
