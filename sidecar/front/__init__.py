"""In front of the cluster: requests meant for Elasticsearch, forwarded, filled with vectors, rewritten."""
