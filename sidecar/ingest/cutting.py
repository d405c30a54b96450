"""How long texts are cut for a target: as its binding says, else as the endpoint's settings do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from sidecar.core.chunking import DEFAULT_CHUNKING, UNIT, TokenCounter, parse_counted_settings
from sidecar.core.errors import IllegalArgumentError
from sidecar.inference.embedder import EndpointProfile
from sidecar.ingest.pieces import Splitter, into_one, splitter


@dataclass(frozen=True, slots=True)
class Cutting:
    """How one field's texts are cut, what of it goes into the hash, and whether tokens are counted for it."""

    splitter: Splitter = field(compare=False)
    circumstances: tuple[str, ...]
    counts_tokens: bool = False

    def in_one_piece(self) -> Cutting:
        """The same chunks in one piece, whose vectors are merged."""
        return replace(self, splitter=into_one(self.splitter))


def cutting_of(
    profiles: Sequence[EndpointProfile],
    given: Mapping[str, Any] | None = None,
    *,
    otherwise: Mapping[str, Any] = DEFAULT_CHUNKING,
) -> Cutting:
    """The cutting of texts for endpoints that get the same pieces.

    ``given`` are the settings of a binding or of a field; without any those of the first endpoint that has some count,
    and ``otherwise`` where none has.

    Raises:
        SidecarError: the settings are not right, or sizes are to be tokens of a model that is not here.
    """
    own = next((profile.chunking_settings for profile in profiles if profile.chunking_settings), None)
    settings = parse_counted_settings(given or own or otherwise)
    counter = _counter_of(profiles, settings["max_chunk_size"]) if UNIT in settings else None
    circumstances = orjson.dumps(settings, option=orjson.OPT_SORT_KEYS).decode()
    return Cutting(splitter(settings, counter), (circumstances,), counter is not None)


def _counter_of(profiles: Sequence[EndpointProfile], size: int) -> TokenCounter:
    counters: list[TokenCounter] = []
    for profile in profiles:
        if (counter := profile.token_counter) is None:
            raise IllegalArgumentError(
                f"[{UNIT}] [tokens] needs the tokenizer of the model, which is not known for endpoint"
                f" [{profile.inference_id}] of service [{profile.service}]; leave it out to count words"
            )
        if size > counter.limit:
            raise IllegalArgumentError(
                f"[max_chunk_size] [{size}] is more than the [{counter.limit}] tokens that the model of endpoint"
                f" [{profile.inference_id}] reads"
            )
        counters.append(counter)
    return counters[0] if len(counters) == 1 else _MostTokens(counters)


class _MostTokens:
    """Several models' counts of the same pieces: the largest."""

    def __init__(self, counters: Sequence[TokenCounter]) -> None:
        self._counters = counters
        self.limit = min(counter.limit for counter in counters)

    @property
    def frame(self) -> int:
        """The tokens of an empty text; not asked for before texts are cut, since it loads the tokenizers."""
        return max(counter.frame for counter in self._counters)

    def count(self, texts: Sequence[str]) -> list[int]:
        """The most tokens that any of the models reads of each text."""
        return [max(counts) for counts in zip(*(counter.count(texts) for counter in self._counters), strict=True)]
