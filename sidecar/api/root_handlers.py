"""``GET /`` and ``HEAD /``: who answers here, in the shape that clients' ``info()`` and ``ping()`` expect."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from aiohttp import web

from sidecar.api.call import Call

DISTRIBUTION = "elasticsearch-inference-sidecar"
CLUSTER_NAME = "elasticsearch-inference-sidecar"


async def get_root(call: Call, _values: Mapping[str, str]) -> web.StreamResponse:
    """Names itself the sidecar, and the version of Elasticsearch whose Inference API it speaks.

    Typed clients insist on fields that mean nothing here: there is no Lucene, and no other version to get along with.
    """
    call.refuse_unknown()
    if "pretty" not in call.parameters:
        call.pretty = True
    return call.answer(
        {
            "name": call.options.node_name,
            "cluster_name": CLUSTER_NAME,
            "cluster_uuid": "_na_",
            "version": {
                "number": call.generation.version,
                "build_flavor": "sidecar",
                "build_type": f"sidecar {version(DISTRIBUTION)}",
                "build_hash": "unknown",
                "build_date": "1970-01-01T00:00:00.000Z",
                "build_snapshot": False,
                "lucene_version": "unknown",
                "minimum_wire_compatibility_version": call.generation.version,
                "minimum_index_compatibility_version": call.generation.version,
            },
            "tagline": "You Know, for Search",
        }
    )
