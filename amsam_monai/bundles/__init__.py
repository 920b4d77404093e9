"""Bundles as the package uses them: found, loaded, built, trained."""
