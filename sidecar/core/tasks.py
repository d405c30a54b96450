"""Task types and input types of the Inference API.

Source: Elasticsearch API reference, "Create an inference endpoint" and "Perform inference".
"""

from __future__ import annotations

from enum import StrEnum


class TaskType(StrEnum):
    """What an endpoint does. Members stand in the order in which Elasticsearch lists them."""

    TEXT_EMBEDDING = "text_embedding"
    SPARSE_EMBEDDING = "sparse_embedding"
    RERANK = "rerank"
    COMPLETION = "completion"
    CHAT_COMPLETION = "chat_completion"
    EMBEDDING = "embedding"

    @classmethod
    def parse(cls, text: str) -> TaskType | None:
        """The task type of ``text`` (trimmed, case ignored), or ``None`` when there is no such type."""
        try:
            return cls(text.strip().lower())
        except ValueError:
            return None

    @property
    def is_embedding(self) -> bool:
        """True for the types whose results are vectors or token weights (the only ones with chunking settings)."""
        return self in (TaskType.TEXT_EMBEDDING, TaskType.SPARSE_EMBEDDING, TaskType.EMBEDDING)


ANY_TASK_TYPE = "any"


class InputType(StrEnum):
    """Why a text is embedded; the internal ones come from ingestion, queries and validation calls."""

    INGEST = "ingest"
    SEARCH = "search"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    UNSPECIFIED = "unspecified"
    INTERNAL_INGEST = "internal_ingest"
    INTERNAL_SEARCH = "internal_search"

    @property
    def is_internal(self) -> bool:
        return self in (InputType.INTERNAL_INGEST, InputType.INTERNAL_SEARCH)

    @property
    def public(self) -> InputType:
        """``ingest`` for ``internal_ingest``, ``search`` for ``internal_search``, else the value itself."""
        if self is InputType.INTERNAL_INGEST:
            return InputType.INGEST
        return InputType.SEARCH if self is InputType.INTERNAL_SEARCH else self


class Similarity(StrEnum):
    """How dense vectors are compared."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot_product"
    L2_NORM = "l2_norm"


class ElementType(StrEnum):
    """What a dense vector is made of; ``bit`` packs eight dimensions into one signed byte."""

    FLOAT = "float"
    BYTE = "byte"
    BIT = "bit"
