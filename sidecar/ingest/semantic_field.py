"""``semantic_text`` fields as targets: what their mapping asks for, and how chunks and vectors are written.

A document that brings the field's inference results along, in ``_inference_fields``, is indexed as it is:
Elasticsearch calls no endpoint, needs none of that name, and asks for no licence. The text stands in the field itself.
Source: Elasticsearch's mapping reference, "Semantic text field type"; documents of 8.19.8 and 9.4.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sidecar.core.chunking import DEFAULT_CHUNKING, Chunk, Utf16Offsets, parse_chunking_settings
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.core.tasks import Similarity
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.pieces import Piece, Splitter, splitter
from sidecar.ingest.stop import WrongFieldError

INFERENCE_FIELDS = "_inference_fields"
SEMANTIC_TEXT = "semantic_text"


@dataclass(frozen=True, slots=True)
class SemanticField:
    """What every write into the field must agree with; ``circumstances`` changes with the way texts are cut.

    ``inference_id`` is the one that the mapping names, for Elasticsearch's own use.
    """

    inference_id: str
    model_settings: Mapping[str, Any]
    circumstances: str
    splitter: Splitter = field(compare=False)


def read_semantic_field(where: str, mapped: Mapping[str, Any], profile: EndpointProfile) -> SemanticField:
    """The field as its mapping describes it, to be filled by the endpoint of ``profile``.

    Texts are cut with the chunking settings of the mapping, else with the endpoint's. Raises
    :class:`WrongFieldError` when the mapping already says that its vectors are others than the endpoint's.
    """
    made = _model_settings(profile)
    fixed = mapped.get("model_settings") or {}
    for name in ("task_type", "dimensions", "element_type"):
        if name in fixed and fixed[name] != made.get(name):
            raise WrongFieldError(
                f"{where} holds vectors with [{name}] [{fixed[name]}], but endpoint [{profile.inference_id}] makes"
                f" [{made.get(name)}]; map it to another target field"
            )
    given = mapped.get("chunking_settings") or profile.chunking_settings or DEFAULT_CHUNKING
    settings = parse_chunking_settings(dict(given), generation=DEFAULT_GENERATION)
    return SemanticField(
        inference_id=mapped["inference_id"],
        model_settings={name: fixed.get(name, value) for name, value in made.items()},
        circumstances=orjson.dumps(settings, option=orjson.OPT_SORT_KEYS).decode(),
        splitter=splitter(settings),
    )


def inference_results(
    semantic: SemanticField, name: str, text: str, pieces: Sequence[Piece], values: Sequence[Any]
) -> dict[str, Any]:
    """The entry of field ``name`` in ``_inference_fields``; one stored value per piece of ``text``.

    A chunk without tokens is left out: 8.19 cannot return a document that has one.
    """
    offsets = Utf16Offsets(text)
    chunks = []
    for piece, value in zip(pieces, values, strict=True):
        # Token weights come as a sparse_vector field takes them, in an array; here the object stands alone.
        embeddings = value[0] if isinstance(value, list) else value
        if len(embeddings):
            start, end = offsets.chunk(Chunk(piece.start, piece.start + len(piece.text)))
            chunks.append({"start_offset": start, "end_offset": end, "embeddings": embeddings})
    return {
        "inference": {
            "inference_id": semantic.inference_id,
            "model_settings": dict(semantic.model_settings),
            "chunks": {name: chunks},
        }
    }


def _model_settings(profile: EndpointProfile) -> dict[str, Any]:
    if profile.is_sparse:
        return {"task_type": "sparse_embedding"}
    return {
        "task_type": "text_embedding",
        "dimensions": profile.dimensions,
        "similarity": str(profile.similarity or Similarity.COSINE),
        "element_type": str(profile.element_type),
    }
