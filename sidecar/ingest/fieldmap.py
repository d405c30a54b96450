"""Which field's text is embedded by which endpoint into which field."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.core.errors import IllegalArgumentError
from sidecar.elastic.bindings import overlap

_FORM = "SOURCE_FIELD[,SOURCE_FIELD...]:TARGET_FIELD=INFERENCE_ID"


@dataclass(frozen=True, slots=True)
class FieldMap:
    """``source`` and ``target`` are dotted paths; one source may feed several targets.

    Several sources of one target stand with commas between them.
    """

    source: str
    target: str
    inference_id: str

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.source.split(","))

    @classmethod
    def parse(cls, text: str) -> FieldMap:
        """Reads ``SOURCE[,SOURCE...]:TARGET=INFERENCE_ID``; anything else is an ``IllegalArgumentError``."""
        fields, equals, inference_id = text.strip().rpartition("=")
        source, colon, target = fields.partition(":")
        if not (equals and colon and source.strip() and target.strip() and inference_id.strip()):
            raise IllegalArgumentError(f"[{text}] is not of the form {_FORM}")
        sources = ",".join(path.strip() for path in source.split(","))
        parsed = cls(sources, target.strip(), inference_id.strip())
        for path in (*parsed.sources, parsed.target):
            if not all(path.split(".")):
                raise IllegalArgumentError(f"[{path}] in [{text}] is not a field name")
        if parsed.target in parsed.sources:
            raise IllegalArgumentError(f"[{text}] would overwrite its own source field")
        return parsed


def parse_field_maps(texts: list[str]) -> tuple[FieldMap, ...]:
    """All maps of one command; two maps into one target, or into each other's parent, are refused."""
    if not texts:
        raise IllegalArgumentError(f"at least one map of the form {_FORM} is needed")
    maps = tuple(FieldMap.parse(text) for text in texts)
    for position, one in enumerate(maps):
        for other in maps[position + 1 :]:
            if overlap(one.target, other.target):
                raise IllegalArgumentError(f"targets [{one.target}] and [{other.target}] overlap")
    for one in maps:
        if any(overlap(one.target, path) for other in maps for path in other.sources):
            raise IllegalArgumentError(f"target [{one.target}] is also a source")
        if overlap(one.target, "sidecar"):
            raise IllegalArgumentError("the field [sidecar] is kept for the marker")
    return maps
