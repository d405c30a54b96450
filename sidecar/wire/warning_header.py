"""``Warning`` headers as Elasticsearch writes them (RFC 7234, section 5.5: code 299, agent, text)."""

from __future__ import annotations

from sidecar.core.generations import Generation


def warning_header(text: str, generation: Generation) -> str:
    """The value of a ``Warning`` header of the sidecar."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'299 Elasticsearch-{generation.version}-sidecar "{quoted}"'
