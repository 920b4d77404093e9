"""Dictionary keys of samples and batches, beside MONAI's CommonKeys (image, label, pred)."""

IMAGE = "image"  # (3, H, W) in [0, 1]
LABEL = "label"  # (1, H, W) class indices; IGNORE_INDEX is never scored
PRED = "pred"
EMBEDDING = "embedding"  # (256, h, w), output of the image encoder
BOX = "box"  # (K, 4) x1, y1, x2, y2 in pixels of the image; NaN = no box
POINTS = "points"  # (K, N, 2) x, y in pixels of the image; NaN = no point
POINT_LABELS = "point_labels"  # (K, N) 1 positive, 0 negative
CASE_ID = "case_id"
PATIENT_ID = "patient_id"

IGNORE_INDEX = 255
