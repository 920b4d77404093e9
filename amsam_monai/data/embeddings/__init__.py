"""Embeddings kept on disk, so that a frozen encoder sees each image once."""
