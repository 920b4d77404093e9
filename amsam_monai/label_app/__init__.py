"""MONAI Label: bundles served automatically and by clicks, trained and asked which case comes next."""
