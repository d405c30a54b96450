"""Cutting long texts into chunks, with the settings and to the character as Elasticsearch does for ``semantic_text``.

``parse_chunking_settings`` checks what a user wrote, ``chunk`` cuts a text with it, ``slots`` bounds what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.core.chunking.chunk import Chunk, Utf16Offsets
from sidecar.core.chunking.recursive import recursive_chunks
from sidecar.core.chunking.sentence import sentence_chunks
from sidecar.core.chunking.separator import compiled
from sidecar.core.chunking.settings import DEFAULT_CHUNKING, LEGACY_CHUNKING, parse_chunking_settings
from sidecar.core.chunking.slots import merge_chunks, slots
from sidecar.core.chunking.tokens import UNIT, TokenCounter, parse_counted_settings, token_chunks
from sidecar.core.chunking.word import word_chunks

__all__ = [
    "DEFAULT_CHUNKING",
    "LEGACY_CHUNKING",
    "UNIT",
    "Chunk",
    "TokenCounter",
    "Utf16Offsets",
    "check_separators",
    "chunk",
    "merge_chunks",
    "parse_chunking_settings",
    "parse_counted_settings",
    "slots",
    "token_chunks",
]


def chunk(text: str, settings: Mapping[str, Any]) -> list[Chunk]:
    """Chunks of ``text``, in order; at least one, and exact substrings.

    ``settings`` are those of :func:`parse_chunking_settings`. Raises ``IllegalArgumentError`` for a separator that
    is no regular expression or takes too long on the text.
    """
    match settings["strategy"]:
        case "word":
            return word_chunks(text, settings["max_chunk_size"], settings["overlap"])
        case "sentence":
            return sentence_chunks(text, settings["max_chunk_size"], settings["sentence_overlap"])
        case "recursive":
            return recursive_chunks(text, settings["max_chunk_size"], settings["separators"])
        case _:
            return [Chunk(0, len(text))]


def check_separators(settings: Mapping[str, Any]) -> None:
    """Raises ``IllegalArgumentError`` for a separator that is no regular expression.

    Elasticsearch creates an endpoint with such a separator and fails with the first long text; this tells it before.
    """
    for separator in settings.get("separators", ()):
        compiled(separator)
