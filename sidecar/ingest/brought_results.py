"""Inference results that a document brings along in ``_inference_fields``: whether they are of the text beside them.

Elasticsearch never looks. Here the document's own marker tells; without one they are the user's own and are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from sidecar.core.chunking import Utf16Offsets
from sidecar.ingest.marker import Stamp, input_hash
from sidecar.ingest.semantic_field import texts_hash
from sidecar.ingest.semantic_values import texts_of, value_at


class Brought(Enum):
    """What becomes of a field's results that a document brings."""

    KEPT = "of this text, or of one that no marker names"
    STALE = "of another text or model"
    WITHOUT_TEXT = "of a text that is not there any more"


def judge_brought(
    name: str, stamp: Stamp | None, model: str, texts: Sequence[str], circumstances: Sequence[str]
) -> Brought:
    """``stamp`` is what the document's own marker says of field ``name``, ``texts`` what it holds (``input_texts``).

    ``model`` and ``circumstances`` are those with which they would be made now.
    """
    if stamp is None:
        return Brought.KEPT
    if not texts:
        return Brought.WITHOUT_TEXT
    is_current = stamp.model == model and _names_texts(stamp.hash, name, texts, circumstances)
    return Brought.KEPT if is_current else Brought.STALE


def _names_texts(hash: str, name: str, texts: Sequence[str], circumstances: Sequence[str]) -> bool:
    """Whether a hash is that of these texts: of the field as it is, or of the one text that a map wrote into it."""
    path, text, *others = texts
    is_alone = path == name and not others
    return hash == texts_hash(texts, circumstances) or (is_alone and hash == input_hash(text, *circumstances))


def reach_beyond(name: str, results: Any, sources: Iterable[str], document: Mapping[str, Any]) -> bool:
    """Whether chunks that a document brings end behind the text that they should be of, so are of another one.

    ``results`` is the field's entry in ``_inference_fields``, of any form.
    """
    inference = results.get("inference") if isinstance(results, Mapping) else None
    chunks = inference.get("chunks") if isinstance(inference, Mapping) else None
    if not isinstance(chunks, Mapping):
        return False
    ends = {path: _end_of(texts_of(name, value_at(document, path))) for path in sources}
    return any(
        isinstance(chunk, Mapping) and isinstance(end := chunk.get("end_offset"), int) and end > ends.get(path, 0)
        for path, held in chunks.items()
        if isinstance(held, list)
        for chunk in held
    )


def _end_of(texts: Sequence[str]) -> int:
    """The length in UTF-16 code units of all values of a field, with one character between two of them."""
    return sum(Utf16Offsets(text).of(len(text)) for text in texts) + max(len(texts) - 1, 0)
