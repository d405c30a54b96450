"""The marker: what a document says about its own vectors, so that a backfill knows what is missing or changed.

    "sidecar": {
      "model": ["text_sparse=my-elser@5f2c", "text_dense=my-bge@91ab"],     per target field: endpoint id @ revision
      "hash":  ["text_sparse=6b0e...", "text_dense=6b0e..."],               per target field: hash of the exact input
      "source": ["text_sparse=text", "text_dense=text"],                    per target field: where the text came from
      "failed": ["text_dense=70c1..."],                                     per target field: what failed for good
      "at": "2026-01-31T12:00:00Z", "pending": true, "error": "text_dense: ..."
    }

The values are keywords with the field's name in front, so that one mapping serves any number of fields, order and
repetition do not matter (synthetic source sorts), and one ``term`` query finds the documents of another model.
Markers of older versions have no ``source``: then it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from operator import methodcaller
from typing import Any

from sidecar.elastic.source import values_at, well_formed

MARKER_FIELD = "sidecar"
_is_below = methodcaller("startswith", f"{MARKER_FIELD}.")
_ERROR_LENGTH = 500

MARKER_MAPPING: dict[str, Any] = {
    "properties": {
        "model": {"type": "keyword"},
        "hash": {"type": "keyword"},
        "source": {"type": "keyword"},
        "failed": {"type": "keyword"},
        "at": {"type": "date"},
        "pending": {"type": "boolean"},
        "error": {"type": "keyword", "ignore_above": 512},
    }
}


def input_hash(text: str, *circumstances: str) -> str:
    """128 bits in hex over the exact text and whatever else decides what is sent (chunking settings)."""
    parts = []
    for part in (text, *circumstances):
        encoded = part.encode("utf-8", "surrogatepass")
        parts += [len(encoded).to_bytes(8, "big"), encoded]
    return blake2b(b"".join(parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Stamp:
    """One target field's entry: ``model`` is ``id@revision``, ``hash`` that of the text it was made from.

    ``source`` is the field that held the text, ``None`` where the marker does not say.
    """

    model: str
    hash: str
    source: str | None = None

    def fits(self, other: Stamp) -> bool:
        """Whether both are of the same text and model, wherever the text came from."""
        return (self.model, self.hash) == (other.model, other.hash)


@dataclass(frozen=True, slots=True)
class Marker:
    """A document's marker as it was read; ``foreign`` keeps entries of a form that is not ours.

    ``failed`` holds per target field what failed for good (:func:`attempt_hash`).
    """

    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    error: str | None = None
    pending: bool = False
    foreign_models: tuple[str, ...] = ()
    foreign_hashes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Mapping[str, Any]) -> Marker:
        """The marker of a document's source; an empty one when there is none or only parts of one."""
        if MARKER_FIELD not in source and not any(map(_is_below, source)):
            return _NO_MARKER
        own = source.get(MARKER_FIELD)
        if isinstance(own, Mapping) and "model" in own:
            # A marker under dotted names, as others write it, stays beside the object that was written since.
            source = {MARKER_FIELD: own}
        models, foreign_models = _by_field(values_at(source, f"{MARKER_FIELD}.model"))
        hashes, foreign_hashes = _by_field(values_at(source, f"{MARKER_FIELD}.hash"))
        origins, _ = _by_field(values_at(source, f"{MARKER_FIELD}.source"))
        failed, _ = _by_field(values_at(source, f"{MARKER_FIELD}.failed"))
        error = next((e for e in values_at(source, f"{MARKER_FIELD}.error") if isinstance(e, str)), None)
        pending = any(p in (True, "true") for p in values_at(source, f"{MARKER_FIELD}.pending"))
        stamps = {
            name: Stamp(model, hashes[name], origins.get(name)) for name, model in models.items() if name in hashes
        }
        return cls(stamps, error, pending, foreign_models, foreign_hashes, failed)

    def rewritten(
        self,
        made: Mapping[str, Stamp],
        cleared: Iterable[str],
        error: str | None,
        at: datetime,
        failed: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The marker's new value: ``made`` replaces, ``cleared`` removes, all other fields' entries stay.

        What ``failed`` for good is added; what was made or cleared is forgotten. ``pending``, ``error`` and ``failed``
        are nulled or emptied only when they were there: a partial update cannot remove a key.
        """
        stamps = {**self.stamps, **made}
        for name in cleared:
            stamps.pop(name, None)
        failures = {**self.failed, **(failed or {})}
        for name in {*made, *cleared} - set(failed or {}) if failures else ():
            failures.pop(name, None)
        models, hashes, origins = [*self.foreign_models], [*self.foreign_hashes], []
        for name, stamp in sorted(stamps.items()):
            models.append(f"{name}={stamp.model}")
            hashes.append(f"{name}={stamp.hash}")
            if stamp.source is not None:
                origins.append(f"{name}={stamp.source}")
        value: dict[str, Any] = {"model": models, "hash": hashes, "at": _timestamp(at)}
        if origins or any(stamp.source is not None for stamp in self.stamps.values()):
            value["source"] = origins
        if failures or self.failed:
            value["failed"] = [f"{name}={digest}" for name, digest in sorted(failures.items())]
        if self.pending and error is None:
            value["pending"] = None
        if error is not None:
            value["error"] = well_formed(error)[:_ERROR_LENGTH]
        elif self.error is not None:
            value["error"] = None
        return value


_NO_MARKER = Marker()


@lru_cache(maxsize=8)  # the documents of one batch share their time
def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_marker(value: Any) -> bool:
    """Whether what a document holds under :data:`MARKER_FIELD` may be a marker, or nothing, and so be written."""
    return value is None or (isinstance(value, Mapping) and set(value) <= set(MARKER_MAPPING["properties"]))


def attempt_hash(digest: str, model: str, together: Iterable[str] = ()) -> str:
    """What the marker remembers of a failure: the text's hash and the model, and the fields written ``together``.

    The latter where Elasticsearch refused the document, which says of no field that it alone was to blame.
    """
    return input_hash(digest, model, *sorted(together))


def model_term(target: str, model: str) -> dict[str, Any]:
    """The query clause that finds the documents whose ``target`` was made by ``model``.

    Where documents with markers were copied into an index before it was mapped, Elasticsearch guessed a text field with
    a keyword below it.
    """
    value = f"{target}={model}"
    named = [{"term": {f"{MARKER_FIELD}.model{below}": value}} for below in ("", ".keyword")]
    return {"bool": {"should": named, "minimum_should_match": 1}}


def marker_lacks(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the marker that ``mapping``, that of :data:`MARKER_FIELD` or an empty one, has not got yet.

    What is there stays: a guessed text field holds a marker as well. Raises ``ValueError``, with the rest of a sentence
    that begins with the field, for what holds no marker.
    """
    if mapping.get("type", "object") != "object" or str(mapping.get("enabled", True)).lower() == "false":
        raise ValueError("but holds values")
    there: Mapping[str, Any] = mapping.get("properties") or {}
    wanted: dict[str, Any] = MARKER_MAPPING["properties"]
    if there and "model" not in there:
        raise ValueError("but holds others")
    for name, field_ in there.items():
        kind = field_.get("type", "object")
        if name in wanted and kind not in _STRINGS and kind != wanted[name]["type"]:
            raise ValueError(f"but [{name}] in it is mapped as [{kind}]")
    return {name: field_ for name, field_ in wanted.items() if name not in there}


_STRINGS = ("keyword", "text", "match_only_text", "wildcard")


def _by_field(values: Iterable[Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    named: dict[str, str] = {}
    foreign: list[str] = []
    for value in values:
        name, equals, rest = str(value).partition("=")
        if equals and name and rest:
            named[name] = rest
        elif value is not None:
            foreign.append(str(value))
    return named, tuple(foreign)
