"""Media types: what a request says it carries and wants, and what the answer will be.

JSON, YAML and CBOR, plain or as ``application/vnd.elasticsearch+...;compatible-with=N``; SMILE has no kept Python
library and is neither read nor written. Source: Elasticsearch reference, "REST APIs: Compatibility" and
"API conventions: Content-type requirements".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from sidecar.core.errors import IllegalArgumentError, MediaTypeError, PlainError, StatusError
from sidecar.core.generations import Generation

EVENT_STREAM = "text/event-stream"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VENDOR = re.compile(r"application/vnd\.elasticsearch\+(json|x-ndjson|yaml|cbor|smile)")
_PLAIN = re.compile(r"application/(json|x-ndjson|yaml|cbor)")


class Format(StrEnum):
    """How a body is written."""

    JSON = "json"
    YAML = "yaml"
    CBOR = "cbor"


@dataclass(frozen=True, slots=True)
class MediaType:
    """One parsed header value; ``raw`` is as it was sent."""

    raw: str
    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def format(self) -> Format | None:
        """The body format it names, ``None`` for anything this API does not speak."""
        return _format_of(self.name)

    @property
    def version(self) -> str | None:
        """The requested compatible version; Elasticsearch heeds it beside any type."""
        return self.parameters.get("compatible-with")


@lru_cache(maxsize=256)
def _format_of(name: str) -> Format | None:
    match = _PLAIN.fullmatch(name) or _VENDOR.fullmatch(name)
    if match is None or match.group(1) == "smile":
        return None
    return Format.JSON if match.group(1) == "x-ndjson" else Format(match.group(1))


@dataclass(frozen=True, slots=True)
class Negotiation:
    """The media types of one request. ``content`` and ``accept`` are ``None`` when absent or meaningless."""

    content: MediaType | None = None
    accept: MediaType | None = None

    def body_format(self) -> Format:
        """Format of the request's body; raises ``PlainError`` (406) for types this API does not read."""
        if self.content is None or self.content.format is None:
            raw = self.content.raw if self.content else ""
            raise PlainError(f"Content-Type header [{raw}] is not supported", status=406)
        return self.content.format

    def answer(self, requested: str | None) -> tuple[Format, str]:
        """Format and ``Content-Type`` of the answer; ``requested`` is the ``format`` parameter."""
        spoken = self.accept if self.accept and self.accept.format else None
        source = spoken or (self.content if self.content and self.content.format else None)
        chosen = source.format if source and source.format else Format.JSON
        asked = self.accept.parameters if self.accept else {}  # repeated even where the type itself is not spoken
        parameters = "".join(f";{key}={asked[key]}" for key in sorted(asked))
        override = Format(requested.lower()) if requested and requested.lower() in set(Format) else None
        if override is not None and override is not chosen:
            return override, f"application/{override}{parameters}"
        if source is None:
            return chosen, f"application/json{parameters}"
        return chosen, source.name.replace("x-ndjson", "json") + parameters


@lru_cache(maxsize=256)  # clients send the same few values with every request
def negotiate(content_type: str | None, accept: str | None, has_body: bool, generation: Generation) -> Negotiation:
    """The media types of a request with these headers, ``None`` where one is absent.

    Raises ``MediaTypeError`` for values that cannot be read, for compatible versions that do not fit together, and
    for versions the generation does not know. ``Accept: text/event-stream`` may stand beside any content type.
    """
    wanted, wrong_accept = _read(accept, "Accept")
    content, wrong_content = _read(content_type, "Content-Type")
    if wrong_accept is not None:
        wrong_accept.suppressed = (wrong_content,) if wrong_content else ()
        raise wrong_accept
    if wrong_content is not None:
        raise wrong_content
    _check_versions(content, wanted, has_body, generation)
    return Negotiation(content, wanted)


def _read(raw: str | None, name: str) -> tuple[MediaType | None, MediaTypeError | None]:
    if raw is None:
        return None, None
    try:
        return _parse(raw, name), None
    except IllegalArgumentError as cause:
        return None, MediaTypeError(f"Invalid media-type value on headers [{name}]", cause=cause)


def _parse(raw: str, header: str) -> MediaType | None:
    if not raw.strip():
        raise IllegalArgumentError(f"Header [{header}] cannot be empty.")
    if header == "Accept" and ("," in raw or raw.strip() == "*/*"):
        return None
    if "," in raw:
        return MediaType(raw, raw.lower())
    name, *rest = (part.strip() for part in raw.lower().split(";"))
    kinds = name.split("/")
    if len(kinds) != 2 or not all(_TOKEN.fullmatch(kind.strip()) for kind in kinds):
        raise IllegalArgumentError(f"invalid media-type [{raw}]")
    parameters = {}
    for part in filter(None, rest):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value or "=" in value:
            raise IllegalArgumentError(f"invalid parameters for header [{raw}]")
        parameters[key] = value
    return MediaType(raw, name, parameters)


def _check_versions(
    content: MediaType | None, accept: MediaType | None, has_body: bool, generation: Generation
) -> None:
    current = generation.compatible_versions[0]
    accepted = _version(accept, "Accept", generation) if accept else None
    if not has_body or (accept is not None and accept.name == EVENT_STREAM):
        return
    sent = _version(content, "Content-Type", generation) if content else None
    shown = f"Accept={accept.raw if accept else 'null'}, Content-Type={content.raw if content else 'null'}"
    rule = "A compatible version is required on both Content-Type and Accept headers if either one has requested a"
    if (sent or current) != (accepted or current):
        raise _mismatch(f"{rule} compatible version and the compatible versions must match. {shown}")
    if (sent is None) != (accepted is None):
        raise _mismatch(f"{rule} compatible version. {shown}")


def _version(media_type: MediaType, header: str, generation: Generation) -> int | None:
    text = media_type.version
    if text is None:
        return None
    current, previous = generation.compatible_versions
    if text.isdecimal() and int(text) in (current, previous):
        return int(text)
    raise _mismatch(
        f"{header} version must be either version {current} or {previous}, but found {text}. {header}={media_type.raw}"
    )


def _mismatch(reason: str) -> MediaTypeError:
    return MediaTypeError("Invalid media-type value on headers [Content-Type, Accept]", cause=StatusError(reason))
