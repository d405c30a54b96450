"""The demo: a real Elasticsearch, the sidecar, a small corpus, five ways to search it."""
