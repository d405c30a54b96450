"""Elasticsearch Inference API sidecar."""
