"""Embeddings that were made before: kept, shared with whoever asks for the same at the same time, never mixed up."""
