"""Retriever trees: read and checked, planned, fused; what the cluster can run itself is left to it."""
