"""Files of images and label maps: reading, writing, and the geometry between."""
