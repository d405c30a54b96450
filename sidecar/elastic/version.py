"""What a cluster's version allows: the features by which the project's requests differ.

Source: Elasticsearch's release notes and mapping reference; checked on 8.14.1, 8.16.1, 8.19.8 and 9.4.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from elasticsearch import AsyncElasticsearch, AuthorizationException


@dataclass(frozen=True, slots=True, order=True)
class ServerVersion:
    """A server's version; ``ServerVersion.parse("9.4.3-SNAPSHOT")`` is 9.4.3."""

    major: int
    minor: int
    patch: int = 0

    @classmethod
    def parse(cls, text: str) -> ServerVersion:
        """Reads ``major.minor[.patch]``, whatever follows; ``ValueError`` for anything else."""
        match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
        if match is None:
            raise ValueError(f"[{text}] is not a version")
        return cls(int(match[1]), int(match[2]), int(match[3] or 0))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"

    def since(self, eight: tuple[int, int] | None, nine: tuple[int, int] = (9, 0)) -> bool:
        """True when the feature is there: from minor ``eight`` of line 8 and from ``nine`` of line 9."""
        here = (self.major, self.minor)
        return here >= nine or (eight is not None and self.major == 8 and here >= eight)

    @property
    def has_sparse_index_options(self) -> bool:
        """``index_options.prune`` of a ``sparse_vector`` field."""
        return self.since((8, 19), (9, 1))

    @property
    def has_sparse_vector_query(self) -> bool:
        """Whether the query is there, at least beside the machine learning module."""
        return self.since((8, 15))

    @property
    def has_sparse_vector_query_always(self) -> bool:
        """Whether it is there without that module: not in 8.16.1, in 8.19.8."""
        return self.since((8, 19))

    @property
    def allows_dots_in_tokens(self) -> bool:
        return self.since((8, 16))

    @property
    def has_inference_fields(self) -> bool:
        """``semantic_text`` fields whose text stays text, with the inference results beside it."""
        return self.since((8, 18))

    @property
    def has_vectors_left_out(self) -> bool:
        """Documents that are read come without their vectors, unless ``_source.exclude_vectors`` is false."""
        return self.since(None, (9, 2))

    @property
    def narrows_dense_semantic_queries(self) -> bool:
        """What a ``bool`` requires narrows the search for vectors of the semantic queries in it."""
        return self.since(None, (9, 3))

    @property
    def has_int8_hnsw(self) -> bool:
        return self.since((8, 12))


NEWEST = ServerVersion(9, 4, 3)


async def server_version(client: AsyncElasticsearch) -> ServerVersion:
    """The cluster's version; a key without the ``monitor`` privilege cannot ask, then the newest known is assumed."""
    try:
        info = await client.info()
    except AuthorizationException:
        return NEWEST
    return ServerVersion.parse(info["version"]["number"])
