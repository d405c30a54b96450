"""The HTTP side: routes, bodies, media types, envelopes, event streams, in Elasticsearch's own form."""
