"""Everything about Elasticsearch as a server that the sidecar is a client of: the client, mappings, bulk, search."""
