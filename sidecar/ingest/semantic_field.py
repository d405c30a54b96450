"""``semantic_text`` fields as targets: what their mapping asks for, and how chunks and vectors are written.

A document that brings the field's inference results along, in ``_inference_fields``, is indexed as it is:
Elasticsearch calls no endpoint, needs none of that name, and asks for no licence. The text stands in the field itself,
in the field that it is a multi-field of, and in those that are copied to it.
Source: Elasticsearch's mapping reference, "Semantic text field type"; documents of 8.19.8 and 9.4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sidecar.core.chunking import DEFAULT_CHUNKING, LEGACY_CHUNKING, Chunk, Utf16Offsets
from sidecar.core.tasks import Similarity
from sidecar.elastic.bindings import SEMANTIC_TEXT, SemanticText
from sidecar.elastic.source import well_formed
from sidecar.elastic.version import ServerVersion
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.cutting import Cutting, cutting_of
from sidecar.ingest.marker import input_hash
from sidecar.ingest.pieces import Piece, Splitter
from sidecar.ingest.semantic_values import texts_of, value_at
from sidecar.ingest.stop import WrongFieldError

__all__ = ["INFERENCE_FIELDS", "SEMANTIC_TEXT", "SemanticField", "Stretch"]
INFERENCE_FIELDS = "_inference_fields"

Chunks = Mapping[str, Sequence[Mapping[str, Any]]]
"""The stored chunks of a field, by the source field that holds their text."""


@dataclass(frozen=True, slots=True)
class SemanticField:
    """What every write into the field must agree with; ``circumstances`` changes with the way texts are cut.

    ``inference_id`` is the one that the mapping names, for Elasticsearch's own use. ``sources`` are the fields whose
    texts it holds in a document as it is; none where a map writes a text into it. With ``fills_blanks`` blank texts get
    empty results: 8.x would ask an endpoint about them.
    """

    inference_id: str
    model_settings: Mapping[str, Any]
    circumstances: str
    splitter: Splitter = field(compare=False)
    sources: tuple[str, ...] = ()
    fills_blanks: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a source field's text, with its offsets in UTF-16 code units over all values of that field."""

    source: str
    start: int
    end: int
    piece: Piece


def semantic_cutting(profile: EndpointProfile, given: Mapping[str, Any] | None, version: ServerVersion) -> Cutting:
    """How texts of a field are cut: as its mapping says (``given``), else as the endpoint, else as the cluster does.

    Raises:
        SidecarError: the settings are not right.
    """
    otherwise = DEFAULT_CHUNKING if version.since(None, (9, 0)) else LEGACY_CHUNKING
    return cutting_of([profile], given, otherwise=otherwise)


def read_semantic_field(
    where: str, mapped: Mapping[str, Any], profile: EndpointProfile, version: ServerVersion
) -> SemanticField:
    """The field as its mapping describes it, to be filled by the endpoint of ``profile``.

    Raises :class:`WrongFieldError` when the mapping already says that its vectors are others than the endpoint's.
    """
    made = model_settings(profile)
    if mapped["inference_id"] != profile.inference_id:
        made.pop("service", None)  # Elasticsearch's own endpoint of that name may be of another
    fixed = mapped.get("model_settings") or {}
    for name in ("task_type", "dimensions", "element_type"):
        if name in fixed and fixed[name] != made.get(name):
            raise WrongFieldError(
                f"{where} holds vectors with [{name}] [{fixed[name]}], but endpoint [{profile.inference_id}] makes"
                f" [{made.get(name)}]; map it to another target field"
            )
    cutting = semantic_cutting(profile, mapped.get("chunking_settings"), version)
    return SemanticField(
        inference_id=mapped["inference_id"],
        model_settings={name: fixed.get(name, value) for name, value in made.items()},
        circumstances=cutting.circumstances[0],
        splitter=cutting.splitter,
    )


def sources_of(mapped: SemanticText) -> tuple[str, ...]:
    """The fields whose texts a ``semantic_text`` field holds: itself or the one above it, then those copied to it."""
    return tuple(dict.fromkeys((mapped.path, *mapped.sources)))


def input_texts(name: str, sources: Iterable[str], document: Mapping[str, Any]) -> list[str]:
    """The texts of a ``semantic_text`` field, each behind the name of its field; none where all are blank.

    Raises:
        StatusError: a value that Elasticsearch refuses.
    """
    held = [(path, well_formed(text)) for path in sources for text in texts_of(name, value_at(document, path))]
    return [part for pair in held for part in pair] if any(text.strip() for _, text in held) else []


def texts_hash(texts: Sequence[str], circumstances: Iterable[str]) -> str | None:
    """The hash of what a field is filled from, ``texts`` as of :func:`input_texts`; ``None`` where there is none."""
    return input_hash("semantic", *texts, *circumstances) if texts else None


def stretches(name: str, source: str, value: Any, splitter: Splitter) -> list[Stretch]:
    """The pieces of what stands in ``source``, to be embedded for field ``name``; none of blank texts.

    Offsets run on over all values, with one character between two of them.

    Raises:
        StatusError: a value that Elasticsearch refuses.
        IllegalArgumentError: the text cannot be cut.
    """
    found: list[Stretch] = []
    offset = 0
    for text in map(well_formed, texts_of(name, value)):
        units = Utf16Offsets(text)
        if text.strip():
            for piece in splitter(text):
                start, end = units.chunk(Chunk(piece.start, piece.start + len(piece.text)))
                found.append(Stretch(source, offset + start, offset + end, piece))
        offset += units.of(len(text)) + 1
    return found


def chunks_of(held: Iterable[Stretch], values: Sequence[Any]) -> dict[str, list[dict[str, Any]]]:
    """The chunks to be stored, by source; one stored value for each stretch.

    One without tokens is left out: 8.19 cannot return a document that has one.
    """
    chunks: dict[str, list[dict[str, Any]]] = {}
    for stretch, value in zip(held, values, strict=True):
        # Token weights come as a sparse_vector field takes them, in an array; here the object stands alone.
        embeddings = value[0] if isinstance(value, list) else value
        if len(embeddings):
            chunk = {"start_offset": stretch.start, "end_offset": stretch.end, "embeddings": embeddings}
            chunks.setdefault(stretch.source, []).append(chunk)
    return chunks


def inference_results(inference_id: str, settings: Mapping[str, Any], chunks: Chunks) -> dict[str, Any]:
    """The entry of a field in ``_inference_fields``."""
    return {
        "inference": {
            "inference_id": inference_id,
            "model_settings": dict(settings),
            "chunks": {source: list(held) for source, held in chunks.items()},
        }
    }


def model_settings(profile: EndpointProfile) -> dict[str, Any]:
    """What a ``semantic_text`` field notes of its endpoint."""
    service = {"service": profile.service} if profile.service else {}
    if profile.is_sparse:
        return {**service, "task_type": "sparse_embedding"}
    return {
        **service,
        "task_type": "text_embedding",
        "dimensions": profile.dimensions,
        "similarity": str(profile.similarity or Similarity.COSINE),
        "element_type": str(profile.element_type),
    }
