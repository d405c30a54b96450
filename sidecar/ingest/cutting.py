"""How long texts are cut for a target: as its binding says, else as the endpoint's settings do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from sidecar.core.chunking import DEFAULT_CHUNKING, parse_chunking_settings
from sidecar.core.generations import DEFAULT_GENERATION
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.pieces import Splitter, into_one, splitter


@dataclass(frozen=True, slots=True)
class Cutting:
    """How one field's texts are cut, and what of it goes into the hash."""

    splitter: Splitter = field(compare=False)
    circumstances: tuple[str, ...]

    def in_one_piece(self) -> Cutting:
        """The same chunks in one piece, whose vectors are merged."""
        return Cutting(into_one(self.splitter), self.circumstances)


def cutting_of(profiles: Sequence[EndpointProfile], given: Mapping[str, Any] | None = None) -> Cutting:
    """The cutting of texts for endpoints that get the same pieces.

    ``given`` are the settings of a binding or of a field; without any those of the first endpoint that has some count.

    Raises:
        SidecarError: the settings are not right.
    """
    own = next((profile.chunking_settings for profile in profiles if profile.chunking_settings), None)
    settings = parse_chunking_settings(dict(given or own or DEFAULT_CHUNKING), generation=DEFAULT_GENERATION)
    circumstances = orjson.dumps(settings, option=orjson.OPT_SORT_KEYS).decode()
    return Cutting(splitter(settings), (circumstances,))
