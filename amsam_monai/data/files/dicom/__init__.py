"""DICOM: series, frames, label maps in and out, and the terms that name them."""
