"""``wrapper``: a query as base64, as clients send one that they hold as text (Spring Data's ``@Query``).

Source: Elasticsearch's query DSL reference, "Wrapper query".
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sidecar.search.bodies import read_object


def unwrapped(body: Any) -> dict[str, Any] | None:
    """The query that the body of a ``wrapper`` holds; ``None`` where it is none, or in a form other than JSON."""
    if not isinstance(body, dict) or body.keys() != {"query"} or not isinstance(body["query"], str):
        return None
    try:
        data = base64.b64decode(body["query"], validate=True)
    except (binascii.Error, ValueError):
        return None
    return read_object(data)
