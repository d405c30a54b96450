"""Vectors written back: documents are read, embedded and updated, and say themselves what was made of them."""
